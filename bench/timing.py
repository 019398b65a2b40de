"""How long something takes: the process's own time, which other processes do not lengthen much, and the clock's."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Took:
    """Seconds of processor time of this process, and seconds on the clock."""

    cpu_s: float
    wall_s: float

    @staticmethod
    def of(work: Callable[[], object]) -> "Took":
        """Time some work."""
        watch = Watch()
        work()
        return watch.took()


class Watch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self._cpu_s, self._wall_s = time.process_time(), time.perf_counter()

    def took(self) -> Took:
        """Return what has passed."""
        return Took(time.process_time() - self._cpu_s, time.perf_counter() - self._wall_s)


def peak_mb() -> float:
    """Return the most memory that this process ever held (Linux: `VmHWM`), in megabytes."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) * 1024 / 1e6
