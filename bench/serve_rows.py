"""Rows of the serving bench: what is called, measured in turns, and held against each other round by round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil

from .serve_load import Came, Generator, Job

QUANTILES = (50.0, 90.0, 99.0)


@dataclass(frozen=True)
class Target:
    """Something that answers: its name, port and request, and the processes whose time its calls take."""

    name: str
    port: int
    request: bytes
    processes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Load:
    """How it is called. `share` None is a closed loop, else an open one at that share of what `against` answered in one."""

    connections: int
    share: float | None = None

    @property
    def name(self) -> str:
        """How it stands in tables."""
        kind = "closed loop" if self.share is None else f"open loop at {self.share:.0%}"
        return f"{kind}, {self.connections} connection{'s' if self.connections > 1 else ''}"


@dataclass
class Row:
    """A target under a load, one figure a round: latencies in µs, answers a second, processor time in µs a call."""

    target: str
    load: str
    p50_us: list[float] = field(default_factory=list)
    p90_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    bad: int = 0

    def add(self, came: Came, cpu_us: float) -> None:
        """Take in a round."""
        p50_us, p90_us, p99_us = np.percentile(came.latencies_us, QUANTILES)
        self.p50_us.append(float(p50_us))
        self.p90_us.append(float(p90_us))
        self.p99_us.append(float(p99_us))
        self.per_s.append(came.per_s)
        self.cpu_us.append(cpu_us / len(came.latencies_us))
        self.bad += came.bad


@dataclass(frozen=True)
class Ratio:
    """One figure of a row over the same figure of another, round by round, and the goal that its median is held to."""

    ours: str
    theirs: str
    load: str
    figure: str
    goal: float
    at_most: bool
    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median over the rounds."""
        return median(self.rounds)

    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.median <= self.goal if self.at_most else self.median >= self.goal


def measure(
    generator: Generator, targets: Sequence[Target], loads: Sequence[Load], rounds: int, seconds: float,
    say: Callable[[str], None],
) -> list[Row]:  # fmt: skip
    """Measure all targets in turns, in every round, so that what else the machine does meets all of them alike."""
    rows = {(target.name, load.name): Row(target.name, load.name) for load in loads for target in targets}
    for load in loads:
        for target in targets:  # connections, caches and learned times: not counted
            generator.run(Job(target.port, target.request, load.connections, min(1.0, seconds)))
    rate_per_s = 0.0
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for load in loads:
            # The same rate for all that are compared: a share of what the slowest of them can answer.
            closed = [row for row in rows.values() if row.per_s and row.load.startswith("closed")]
            slowest = min((min(row.per_s) for row in closed), default=0.0)
            rate_per_s = slowest * (load.share or 0.0)
            for target in targets if number % 2 == 0 else list(reversed(targets)):
                before_us = cpu_us_of(target.processes)
                per_s = None if load.share is None else max(rate_per_s, 1.0)
                came = generator.run(Job(target.port, target.request, load.connections, seconds, per_s))
                rows[target.name, load.name].add(came, cpu_us_of(target.processes) - before_us)
    return list(rows.values())


def ratios(
    rows: Sequence[Row], ours: str, theirs: str, figure: str, goal: float, *, at_most: bool, load: str = ""
) -> list[Ratio]:
    """Return ours over theirs for each load, or for those whose name begins so; none where one of both was not measured."""
    by_name = {(row.target, row.load): row for row in rows}
    found = []
    for name in dict.fromkeys(row.load for row in rows if row.load.startswith(load)):
        mine, other = by_name.get((ours, name)), by_name.get((theirs, name))
        if mine is not None and other is not None:
            pairs = zip(getattr(mine, figure), getattr(other, figure), strict=True)
            found.append(Ratio(ours, theirs, name, figure, goal, at_most, tuple(a / b for a, b in pairs)))
    return found


def cpu_us_of(processes: Sequence[int]) -> float:
    """Return the processor time that processes have had, in µs, all their threads together (Linux: `schedstat`)."""
    total_ns = 0
    for process in processes:
        for path in Path(f"/proc/{process}/task").glob("*/schedstat"):
            try:
                total_ns += int(path.read_text(encoding="ascii").split()[0])
            except (OSError, IndexError):
                continue  # a thread that has just ended
    return total_ns / 1000


def processes_named(words: str, within: str = "") -> tuple[int, ...]:
    """Return the processes whose command line has these words, and `within` in their environment or command line."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            if words in command and (not within or within in command or within in str(process.environ())):
                found.append(process.pid)
        except psutil.Error:
            continue
    return tuple(found)


def figures(row: Row) -> dict[str, Any]:
    """Return a row as plain values: the median over the rounds, with the least and the most."""
    names = ("p50_us", "p90_us", "p99_us", "per_s", "cpu_us")
    told = {name: [round(part(getattr(row, name)), 1) for part in (median, min, max)] for name in names}
    return {"target": row.target, "load": row.load, **told, "bad": row.bad}
