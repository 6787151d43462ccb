"""How busy the machine is, as far as the system tells."""

from __future__ import annotations

import os
import time

# CPUs that other jobs may use while a measurement still counts as undisturbed.
QUIET = 0.2


def busy() -> tuple[float, float]:
    """Returns CPU seconds of the whole machine and of this process, or zeros where nobody tells."""
    try:
        with open("/proc/stat") as file:
            fields = [int(field) for field in file.readline().split()[1:9]]
    except OSError:
        return 0.0, 0.0
    mine = os.times()
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK"), mine.user + mine.system


def wait_until_quiet(seconds: float) -> float:
    """Returns as soon as the rest of the machine is idle, at the latest after `seconds`; says how long it took."""
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        machine, mine = busy()
        moment = time.perf_counter()
        time.sleep(0.2)
        machine_after, mine_after = busy()
        others = (machine_after - machine) - (mine_after - mine)
        if others <= QUIET * (time.perf_counter() - moment):
            break
    return time.perf_counter() - begin
