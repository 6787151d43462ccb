"""One process that has loaded TensorFlow, and forks for each program it is given: loading takes seconds."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import tempfile
from pathlib import Path

# A child starts where TensorFlow is loaded and nothing has run: no threads of its kernels, no graph, no session. The
# pipe the parent listens on is not the child's standard output.
PROGRAM = """
import ctypes, json, os, sys, traceback, types
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import numpy
import tensorflow.compat.v1

def run(job):
    os.chdir(job["folder"])
    for number, path in enumerate(job["streams"]):
        handle = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", 1, closefd=False)
    sys.stderr = open(2, "w", 1, closefd=False)
    sys.argv = ["-c", *job["arguments"]]
    sys.path[:0] = job["path"]
    module = sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        exec(compile(job["program"], "<program>", "exec"), module.__dict__)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = run(job)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            ctypes.CDLL(None).fflush(None)  # what TensorFlow's own code has printed
            os._exit(code)
    print(child, file=answers, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers, flush=True)
"""


class TensorFlowProcess:
    """Runs Python programs where TensorFlow is loaded already, each in a child of its own."""

    def __init__(self, interpreter: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment |= {
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "no_proxy": "*",
        }
        self._said = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [interpreter, "-c", PROGRAM],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    def close(self) -> None:
        """Ends the process."""
        self._process.communicate(timeout=120)
        self._said.close()

    def run(
        self,
        program: str,
        *arguments: str | Path,
        folder: Path,
        path: tuple[Path, ...] = (),
        given: str = "",
        timeout: float = 300.0,
    ) -> str:
        """Returns what a program prints.

        Args:
          program: its text.
          arguments: what it finds in `sys.argv[1:]`.
          folder: where it works.
          path: folders to import from, before the others.
          given: its standard input.
          timeout: seconds after which it is killed, which fails like every other error.
        """
        with tempfile.TemporaryDirectory() as streams:
            files = [Path(streams, name) for name in ("given", "printed", "said")]
            for file, text in zip(files, (given, "", ""), strict=True):
                file.write_text(text)
            job = {"program": program, "arguments": [str(word) for word in arguments], "folder": str(folder),
                   "path": [str(part) for part in path], "streams": [str(file) for file in files]}  # fmt: skip
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()
            child = self._number(timeout)
            assert child is not None, "TensorFlow does not load"
            code = self._number(timeout)
            if code is None:
                os.kill(child, signal.SIGKILL)
                code = self._number(timeout)
            assert code == 0, (
                f"TensorFlow's program ended with {code}:\n{files[1].read_text()}\n{files[2].read_text()}"
            )
            return files[1].read_text()

    def _number(self, timeout: float) -> int | None:
        """The next number that the process says; None: it has said none in time."""
        assert self._process.stdout is not None
        pipe, line = self._process.stdout.fileno(), b""
        while not line.endswith(b"\n"):
            if not select.select([pipe], [], [], timeout)[0]:
                return None
            heard = os.read(pipe, 1)
            if not heard:
                self._said.seek(0)
                raise AssertionError(f"TensorFlow's process has ended:\n{self._said.read().decode()[-4000:]}")
            line += heard
        return int(line)
