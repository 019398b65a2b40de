"""The processes of a run, found by the mark that each of them inherits in its environment; no other is ever ended."""

import os
import time

import psutil

MARK = "INFERCAST_RUN"
PATIENCE_S = 5.0


def processes_of(run_id: str) -> list[psutil.Process]:
    """Return this user's processes that carry a run's mark."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == run_id:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def end_run(run_id: str, keep: int = 0) -> int:
    """End every process of a run but `keep`: asked first, killed after 5 s. Returns how many there were."""
    left = [process for process in processes_of(run_id) if process.pid != keep]
    for process in left:
        _quietly(process.terminate)
    _, stubborn = psutil.wait_procs(left, timeout=PATIENCE_S)
    for process in stubborn:
        _quietly(process.kill)
    psutil.wait_procs(stubborn, timeout=PATIENCE_S)
    return len(left)


def _quietly(act: object) -> None:
    try:
        act()  # type: ignore[operator]
    except psutil.NoSuchProcess:
        return


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_gone(pid: int, timeout_s: float) -> bool:
    """Wait until a process has ended; False when it has not in time."""
    until = time.monotonic() + timeout_s
    while alive(pid):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return pid != os.getpid()
