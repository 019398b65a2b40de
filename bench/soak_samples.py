"""What the processes of a run take at an instant: memory, open files, threads, and the tasks of each worker's event loop."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import httpx
import psutil

from infercast import system
from tests.trouble import world
from tests.trouble.rig import Rig

MB = 1_000_000


@dataclass(frozen=True)
class Taken:
    """What the processes of one role take."""

    processes: int = 0
    rss_mb: float = 0.0
    files: int = 0
    threads: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(
            self.processes + other.processes,
            self.rss_mb + other.rss_mb,
            self.files + other.files,
            self.threads + other.threads,
        )


@dataclass(frozen=True)
class Sample:
    """One look at all of them. `cpu_s` is what they have used in all until then; `tasks` are by site."""

    at_s: float
    roles: dict[str, Taken]
    cpu_s: float
    tasks: dict[str, int]


def sample(rig: Rig) -> Sample:
    """Look at every process of a run."""
    roles: dict[str, Taken] = {}
    cpu_s = 0.0
    for process in rig.processes():
        try:
            with process.oneshot():
                role = role_of(process)
                times = process.cpu_times()
                taken = Taken(1, process.memory_info().rss / MB, process.num_fds(), process.num_threads())
        except psutil.Error:
            continue
        cpu_s += times.user + times.system
        roles[role] = roles.get(role, Taken()) + taken
    return Sample(time.monotonic(), roles, cpu_s, {site: tasks_at(rig, site) for site in world.OWN})


def tasks_at(rig: Rig, site: str) -> int:
    """Ask a worker how many tasks are under way in its event loop."""
    headers = {"authorization": f"Bearer {system.secret_of(rig.state, 'admin')}"}
    for _ in range(10):
        told = httpx.get(f"{rig.url(site)}/admin/v1/status", headers=headers, timeout=30.0)
        if told.is_success:
            return int(told.json()["here"]["tasks"])
        time.sleep(0.5)
    raise RuntimeError(f"{site} does not say how many tasks it has: {told.status_code} {told.text[:200]}")


def role_of(process: psutil.Process) -> str:
    """Say what a process is there for."""
    words = process.cmdline()
    first = words[0] if words else process.name()
    if first.startswith("ray::ServeReplica:"):
        _, _, _, site, name = first.split(":")[:5]
        return f"worker {site}" if name == "worker" else f"replica {name} {site}"
    named = {"ray::Board": "board", "ray::ServeController": "Serve controller", "ray::ProxyActor": "Serve proxy"}
    for begins, role in named.items():
        if first.startswith(begins):
            return role
    if process.name() in {"haproxy", "raylet", "gcs_server"}:
        return {"haproxy": "HAProxy", "raylet": "raylets", "gcs_server": "GCS"}[process.name()]
    if any("supervisor" in word for word in words):
        return "supervisor"
    return "Ray's agents"


def theil_sen(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes between all pairs of points (Theil 1950, Sen 1968): a few outliers do not move it."""
    slopes = [
        (y2 - y1) / (x2 - x1) for number, (x1, y1) in enumerate(points) for x2, y2 in points[number + 1 :] if x2 != x1
    ]
    return median(slopes) if slopes else 0.0
