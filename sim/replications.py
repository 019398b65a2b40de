"""Runs of scenarios side by side: in this process, in several, or as tasks of a Ray cluster that is already there.

Whichever it is, replication r of a scenario has the seed `seed + r`, and its summary is the same, byte for byte. A stop
keeps what is done: runs that were under way end early and say so, runs that had not begun are left out.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .engine import simulate
from .results import summarise
from .scenario import Scenario
from .summary import Summary

POLL_S = 0.1
Watch = Callable[[float], None]
"""Told now and then which share of all runs is done, 0 to 1."""
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Job:
    """One run: a replication of a scenario."""

    scenario: Scenario
    replication: int


def processes_here() -> int:
    """Return how many processes have a core of this machine to themselves."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def jobs_of(scenario: Scenario) -> list[Job]:
    """Return the runs of a scenario."""
    return [Job(scenario, replication) for replication in range(scenario.replications)]


def run_all(
    jobs: Sequence[Job], workers: int, watch: Watch | None = None, stop: Stop | None = None
) -> list[Summary | None]:
    """Return the summary of each run, in order; None for runs that a stop kept from beginning.

    `workers` processes at once; on a Ray cluster, as many as it has room for. Raises BadInput where a trace cannot be read.
    """
    watch, stop = watch or _unseen, stop or _never
    if _on_ray():
        return _run_on_ray(jobs, watch, stop)
    if min(workers, len(jobs)) <= 1:
        return _run_here(jobs, watch, stop)
    return _run_in_processes(jobs, min(workers, len(jobs)), watch, stop)


def _unseen(share: float) -> None:
    """Watch nothing."""


def _never() -> bool:
    return False


def run_job(job: Job, progress: Callable[[float], None], stop: Stop) -> Summary:
    """Return the summary of one run. `progress` is told which share of its calls has ended."""
    world = job.scenario.world(job.replication)
    run = simulate(world, lambda done, calls: progress(done / max(1, calls)), stop)
    return summarise(run, job.scenario.seed + job.replication)


def _run_here(jobs: Sequence[Job], watch: Watch, stop: Stop) -> list[Summary | None]:
    found: list[Summary | None] = []
    for index, job in enumerate(jobs):
        if stop():
            break
        found.append(run_job(job, lambda share, index=index: watch((index + share) / len(jobs)), stop))  # type: ignore[misc]
    return found + [None] * (len(jobs) - len(found))


_shared: tuple[Any, Any] | None = None
"""In a worker process: the event that stops it, and the share done of each run."""


def _begin(stopping: Any, shares: Any) -> None:
    """Set a worker process up. An interrupt of the terminal reaches it too: its parent says what becomes of it."""
    global _shared  # noqa: PLW0603 - an initializer has no other place to leave it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _shared = stopping, shares


def _work(index: int, job: Job) -> Summary | None:
    if _shared is None:
        raise RuntimeError("runs in a worker process only")
    stopping, shares = _shared

    def progress(share: float) -> None:
        shares[index] = share

    if stopping.is_set():
        return None
    summary = run_job(job, progress, stopping.is_set)
    progress(1.0)
    return summary


def _run_in_processes(jobs: Sequence[Job], workers: int, watch: Watch, stop: Stop) -> list[Summary | None]:
    spawning = multiprocessing.get_context("spawn")
    stopping, shares = spawning.Event(), spawning.Array("d", len(jobs), lock=False)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, spawning, _begin, (stopping, shares)) as pool, _killed_at_once(others):
        with _interrupts_kept_from_children():
            futures = [pool.submit(_work, index, job) for index, job in enumerate(jobs)]
        waiting: set[Future[Summary | None]] = set(futures)
        while waiting:
            done, waiting = wait(waiting, POLL_S, FIRST_COMPLETED)
            if stop() or any(future.exception() is not None for future in done):
                stopping.set()
            watch(sum(shares) / len(jobs))
        return [future.result() for future in futures]


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Have the processes that begin meanwhile not die of an interrupt before `_begin`: they inherit that it is blocked.

    Here one that comes meanwhile waits for the end. The first semaphore must be made before: with it multiprocessing
    starts its tracker, and unblocks interrupts.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _killed_at_once(others: set[multiprocessing.process.BaseProcess]) -> Iterator[None]:
    """Kill all processes but the others on an interrupt that is to end at once: the pool waits for its workers."""
    try:
        yield
    except KeyboardInterrupt:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise


def _on_ray() -> bool:
    """Return whether a Ray cluster is connected, or its address is known."""
    ray = sys.modules.get("ray")
    return bool(os.environ.get("RAY_ADDRESS")) or (ray is not None and ray.is_initialized())


def _run_on_ray(jobs: Sequence[Job], watch: Watch, stop: Stop) -> list[Summary | None]:
    """Run as Ray tasks. Those that a stop finds unfinished are cancelled and left out."""
    import ray

    if not ray.is_initialized():
        ray.init(os.environ["RAY_ADDRESS"], log_to_driver=False)
    task = ray.remote(max_retries=1)(_run_whole)
    refs = [task.remote(job) for job in jobs]
    waiting = list(refs)
    while waiting and not stop():
        _, waiting = ray.wait(waiting, num_returns=len(waiting), timeout=POLL_S)
        watch(1 - len(waiting) / len(jobs))
    unfinished = set(waiting)
    for ref in unfinished:
        ray.cancel(ref, force=True)
    return [None if ref in unfinished else ray.get(ref) for ref in refs]


def _run_whole(job: Job) -> Summary:
    return run_job(job, _unseen, _never)


def kept(summaries: Iterable[Summary | None]) -> list[Summary]:
    """Return the summaries of the runs that began."""
    return [summary for summary in summaries if summary is not None]
