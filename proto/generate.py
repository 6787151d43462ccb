"""Write the Python modules of the protobuf definitions in this folder.

    python proto/generate.py

The compiler is a pinned one, in a throw-away virtual environment: generated code of protobuf 6.31 loads under every
runtime from 6.31 to the end of major version 7, whatever the developer has installed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

COMPILER = "grpcio-tools==1.76.0"
SOURCES = Path(__file__).resolve().parent
PACKAGE = "graphflow/serialization/proto"


def protoc_arguments(output: Path) -> list[str]:
    """Arguments for protoc that write modules and stubs for every definition below `output`."""
    names = [f"{PACKAGE}/{path.name}" for path in sorted(SOURCES.glob("*.proto"))]
    # The definitions live in proto/ but are known, in imports and in the descriptor pool, by the package's path.
    return [f"-I{PACKAGE}={SOURCES}", f"--python_out={output}", f"--pyi_out={output}", *names]


def main() -> None:
    """Regenerate all modules in place."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", COMPILER], check=True)
        subprocess.run([python, "-m", "grpc_tools.protoc", *protoc_arguments(SOURCES.parent)], check=True)


if __name__ == "__main__":
    main()
