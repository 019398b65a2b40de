"""What a soak has found, as a table, a figure, and a list of what is not as it should be."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench.machine import described
from bench.soak_samples import Sample, Taken, theil_sen
from bench.svg import Panel, figure

BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
PACKAGES = ("ray", "onnxruntime-gpu", "numpy")
JUDGED_FROM = 1 / 3
"""Memory is judged over what comes after this part of the run."""
GROWTH_SHARE, GROWTH_MB = 0.02, 3.0
"""How much a role may grow over the whole run, by the slope of what is judged: this share, or so many megabytes."""
FILES_MORE, TASKS_MORE = 2, 2
"""How many more may be open at the end than at the beginning, when nobody calls: what happens to be under way at the instant."""
COLOURS = ("#3b6ea8", "#b5523b", "#4f8a4f", "#8a5fa8", "#a8873b", "#555555", "#2f9a9a", "#c26fa0", "#7a7a20")


@dataclass(frozen=True)
class Soaked:
    """A soak, done."""

    seed: int
    minutes: float
    samples: list[Sample]
    before: Sample
    after: Sample
    faults_drawn: Counter[str]
    statuses: Counter[int]
    calls_per_s: float
    books: dict[str, Any]
    machine: dict[str, Any]

    @property
    def roles(self) -> list[str]:
        """All roles, those that take most first."""
        return sorted(self.before.roles, key=lambda role: -self.before.roles[role].rss_mb)

    def rss_mb(self, role: str) -> list[tuple[float, float]]:
        """Memory of a role over time: hours since the beginning, megabytes."""
        start_s = self.samples[0].at_s
        return [((each.at_s - start_s) / 3600, each.roles[role].rss_mb) for each in self.samples if role in each.roles]

    def slope_mb(self, role: str) -> float:
        """How a role grows, in megabytes per hour."""
        points = self.rss_mb(role)
        return theil_sen(points[int(len(points) * JUDGED_FROM) :])

    def growth_mb(self, role: str) -> float:
        """How much that is over the whole run."""
        return self.slope_mb(role) * self.minutes / 60

    def grows(self, role: str) -> bool:
        """Whether that is too much."""
        usual_mb = median(mb for _, mb in self.rss_mb(role))
        return self.growth_mb(role) > max(GROWTH_MB, GROWTH_SHARE * usual_mb)

    @property
    def cpu_share(self) -> float:
        """How much of the machine the system has used."""
        first, last = self.samples[0], self.samples[-1]
        return (last.cpu_s - first.cpu_s) / (last.at_s - first.at_s) / float(self.machine["cores"])

    def faults(self) -> list[str]:
        """What is not as it should be."""
        return [*self._growing(), *self._left_open(), *self._books()]

    def _growing(self) -> Iterator[str]:
        for role in self.roles:
            if role in self.after.roles and self.grows(role):
                yield f"memory of {role} grows by {self.slope_mb(role):.1f} MB an hour"

    def _left_open(self) -> Iterator[str]:
        for role in self.roles:
            before, after = self.before.roles[role], self.after.roles.get(role, Taken())
            if before.processes != after.processes:
                yield f"{role}: {before.processes} processes at the beginning, {after.processes} at the end"
            if after.files > before.files + FILES_MORE * before.processes:
                yield f"{role}: {before.files} open files at the beginning, {after.files} at the end"
        for site, count in self.before.tasks.items():
            if self.after.tasks[site] > count + TASKS_MORE:
                yield f"worker {site}: {count} tasks at the beginning, {self.after.tasks[site]} at the end"

    def _books(self) -> Iterator[str]:
        books = self.books
        if books["told_nusd"] != books["told_journal_nusd"]:
            yield f"callers were told {books['told_nusd']} nUSD, the journals say {books['told_journal_nusd']}"
        if books["journal_nusd"] != books["ledger_nusd"] or books["differing"]:
            yield f"the journals say {books['journal_nusd']} nUSD, the ledger {books['ledger_nusd']}"
        for what in ("wrong_costs", "wrong_endings", "off_policy"):
            if books[what]:
                yield f"{what.replace('_', ' ')}: {len(books[what])}, such as {books[what][0]}"
        if self.statuses[500]:
            yield f"{self.statuses[500]} calls were answered 500"


def text(soaked: Soaked) -> str:
    """Write what was found, as Markdown."""
    faults = soaked.faults()
    drawn_faults = ", ".join(f"{name} ({count})" for name, count in sorted(soaked.faults_drawn.items()))
    statuses = ", ".join(f"{status}: {count:,}" for status, count in sorted(soaked.statuses.items()))
    books = soaked.books
    return "\n".join(
        [
            described(soaked.machine, PACKAGES).replace("\n", " "),
            "",
            (
                f"{soaked.minutes:.0f} minutes, SEED={soaked.seed}, {soaked.calls_per_s:.0f} calls a second, "
                f"{100 * soaked.cpu_share:.0f}% of the machine used by the system, callers beside it. Answers: {statuses}."
            ),
            "",
            f"{sum(soaked.faults_drawn.values())} faults: {drawn_faults}.",
            "",
            *_table(soaked),
            "",
            *_books_table(books),
            "",
            "**As it should be.**" if not faults else "**Not as it should be:** " + "; ".join(faults) + ".",
        ]
    )


def _table(soaked: Soaked) -> Iterator[str]:
    yield "| role | processes | memory, MB | slope, MB an hour | over the run, MB | open files, idle | threads, idle | tasks, idle |"
    yield "|---|---|---|---|---|---|---|---|"
    for role in soaked.roles:
        before, after = soaked.before.roles[role], soaked.after.roles.get(role, Taken())
        points, site = soaked.rss_mb(role), role.removeprefix("worker ")
        tasks = f"{soaked.before.tasks[site]} → {soaked.after.tasks[site]}" if site in soaked.before.tasks else ""
        cells = [
            role,
            str(before.processes),
            f"{points[0][1]:.1f} → {points[-1][1]:.1f}",
            f"{soaked.slope_mb(role):+.2f}",
            f"{soaked.growth_mb(role):+.2f}",
            f"{before.files} → {after.files}",
            f"{before.threads} → {after.threads}",
            tasks,
        ]
        yield f"| {' | '.join(cells)} |"


def _books_table(books: dict[str, Any]) -> Iterator[str]:
    yield "| books | calls | nano-USD |"
    yield "|---|---|---|"
    yield f"| told to callers (whole answers) | {books['told_calls']:,} | {books['told_nusd']:,} |"
    yield f"| the same calls in the journals | {books['told_calls']:,} | {books['told_journal_nusd']:,} |"
    yield f"| all calls in the journals | {books['calls']:,} | {books['journal_nusd']:,} |"
    yield f"| all calls in the ledger | {books['calls']:,} | {books['ledger_nusd']:,} |"


def put_into(path: Path, soaked: Soaked) -> None:
    """Put the tables into a file, between the lines that mark their place."""
    before, found, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise SystemExit(f"{path} has no place for the tables: write the lines {BEGIN} and {END} there")
    picture = "![Memory of each role over the run](figures/soak.svg)"
    path.write_text(f"{before}{BEGIN}\n\n{text(soaked)}\n\n{picture}\n\n{END}{after}", encoding="utf-8")


def drawn(soaked: Soaked) -> str:
    """Draw memory over time, each role as its difference to its own beginning."""
    shown = [role for role in soaked.roles if role in soaked.after.roles]
    lines = {
        role: [(hours * 60, mb - soaked.before.roles[role].rss_mb) for hours, mb in soaked.rss_mb(role)]
        for role in shown
    }
    ends = [value for points in lines.values() for _, value in points]
    low, high = min(-10.0, *ends), max(10.0, *ends)
    panel = Panel(
        "Memory of each role, MB more than at the beginning", (0, soaked.minutes), (low, high), 70, 40, 560, 300
    )
    panel.band(-GROWTH_MB, GROWTH_MB)
    for role, colour in zip(shown, [*COLOURS] * 3, strict=False):
        panel.line(lines[role], colour, 0.8)
    for part in range(6):
        panel.x_label(soaked.minutes * part / 5, f"{soaked.minutes * part / 5:.0f} min")
    for value in (low, 0.0, high):
        panel.y_label(value, f"{value:+.0f}")
    return figure(680, 380, [panel], f"Memory of the system's processes over a soak of {soaked.minutes:.0f} minutes")
