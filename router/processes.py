"""The processes of a run: those that carry its mark in their environment, or hold a file of its own folder open.

Ray's workers rename themselves over the memory that their environment stands in, so the mark alone does not find all
of them; each keeps its log in the run's folder. No other process is ever ended.
"""

import contextlib
import os
import time
from pathlib import Path

import psutil

MARK = "INFERCAST_RUN"
PATIENCE_S = 5.0
PASSES_MAX = 5


def processes_of(run_id: str, folder: str = "") -> list[psutil.Process]:
    """Return this user's processes of a run; `folder` is the run's own temporary folder, where it is known."""
    return [process for process in psutil.process_iter() if _marked(process, run_id) or _holds(process.pid, folder)]


def _marked(process: psutil.Process, run_id: str) -> bool:
    try:
        return process.environ().get(MARK) == run_id
    except psutil.Error:
        return False


def _holds(pid: int, folder: str) -> bool:
    if not folder:
        return False
    try:
        return any(
            str(file.readlink()).startswith(f"{folder}/") and _writes(pid, file.name)
            for file in Path(f"/proc/{pid}/fd").iterdir()
        )
    except OSError:
        return False


def _writes(pid: int, file: str) -> bool:
    """Return whether a process holds a file open for writing; who only reads a log is none of ours."""
    flags = Path(f"/proc/{pid}/fdinfo/{file}").read_text().split("flags:")[1].split()[0]
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def end_run(run_id: str, folder: str = "", keep: int = 0) -> int:
    """End every process of a run but `keep`: asked first, killed after 5 s. Returns how many there were.

    Looks again until none is found: what is being ended may just have started others.
    """
    ended = 0
    for _ in range(PASSES_MAX):
        left = [process for process in processes_of(run_id, folder) if process.pid not in (keep, os.getpid())]
        if not left:
            break
        ended += len(left)
        _end(left)
    return ended


def _end(left: list[psutil.Process]) -> None:
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(left, timeout=PATIENCE_S)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=PATIENCE_S)


def is_of(pid: int, run_id: str) -> bool:
    """Return whether a process runs that carries a run's mark: a number alone may be another's by now."""
    try:
        return alive(pid) and _marked(psutil.Process(pid), run_id)
    except psutil.NoSuchProcess:
        return False


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Wait until a process has ended; False when it has not in time."""
    until = time.monotonic() + timeout_s
    while alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True
