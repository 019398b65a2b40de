"""Sums over the calls of a run, by kind and by where a call ended: one pass over the arrays, small tables after it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from infercast.policies.model import Rule

from .deadlines import deadlines_us
from .model import ANSWERED, Ended, Ints, LimitedBy, Run

Floats = npt.NDArray[np.float64]
ENDINGS = len(Ended)
CODES = 256
BINS_PER_CALL = 4
BINS_MIN = 1 << 16
"""A table of all cells is made where it has at most this many cells, or so many per call; else only the cells in use."""


def rule_word(ended: Ended, code: int) -> str:
    """Return why a call had no answer, in the rule's own words; limits as `limits.requests per minute`."""
    if ended is Ended.LIMITED and code:
        return f"limits.{LimitedBy(code).name.lower().replace('_', ' ')}"
    return Rule(code).word


@dataclass(frozen=True, slots=True)
class Places:
    """Where calls end, numbered: at a deployment; or, if they ran nowhere, at the site they entered; or at none.

    `site` int64[places]: the site of each place, -1 for the last one, which is nowhere.
    """

    deployments: int
    site: Ints

    @classmethod
    def of(cls, run: Run) -> "Places":
        """Return the places of a run's fleet."""
        fleet = run.world.fleet
        number = {site.id: index for index, site in enumerate(fleet.sites)}
        sites = [number[deployment.site] for deployment in fleet.deployments]
        return cls(len(sites), np.array([*sites, *range(len(number)), -1], dtype=np.int64))

    def of_calls(self, run: Run) -> Ints:
        """Return the place of each call, int64[calls]."""
        entered = np.append(np.arange(self.deployments, len(self.site) - 1), len(self.site) - 1)  # -1 is nowhere
        return np.where(run.deployment < 0, entered[run.entry], run.deployment)


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums per cell; a cell is a kind of call at a place, and only those with calls are here.

    `kind`, `place`: int64[cells]. `calls` int64[cells], `ended` int64[cells, endings]. `sums` float64[cells] each: whole
    numbers below 2**53, so that they are exact up to nine million USD or 285 years of waiting. `stopped` int64[reasons, 4]:
    cell, ending, code of the rule, and how many calls without an answer have the three.
    """

    kind: Ints
    place: Ints
    calls: Ints
    ended: Ints
    sums: dict[str, Floats]
    stopped: Ints

    def grouped(self, label: Ints, groups: int) -> dict[str, Floats]:
        """Return the sums by a label of each cell, int64[cells]; cells with -1 are left out."""
        kept = label >= 0
        columns = {"calls": self.calls.astype(np.float64), **self.sums}
        return {name: summed(label[kept], column[kept], groups) for name, column in columns.items()}

    def endings(self, label: Ints, groups: int) -> Ints:
        """Return the calls by label and ending, int64[groups, endings]."""
        kept = label >= 0
        found = np.zeros((groups, ENDINGS), dtype=np.int64)
        np.add.at(found, label[kept], self.ended[kept])
        return found

    def reasons(self, label: Ints) -> Iterator[tuple[int, Ended, str, int]]:
        """Yield label, ending, the rule's words and the number of calls, for calls without an answer."""
        for cell, ended, code, calls in self.stopped.tolist():
            if label[cell] >= 0:
                yield int(label[cell]), Ended(ended), rule_word(Ended(ended), code), calls


def tally(run: Run, places: Places, place: Ints, answered: npt.NDArray[np.bool_]) -> Tally:
    """Return the sums of a run. `place` int64[calls] says where calls ended, `answered` bool[calls] which had an answer."""
    n = len(run)
    ids = run.world.calls.kind[:n] * np.int64(len(places.site)) + place
    cells, number = _numbered(ids, len(run.world.calls.kinds) * len(places.site))
    deadline_us = deadlines_us(run.world, n)
    has_deadline = deadline_us > 0
    columns = {
        "latency_us": np.where(answered, run.latency_us, 0),
        "wait_us": run.wait_us,
        "cost_nusd": run.cost_nusd,
        "egress_nusd": run.egress_nusd,
        "attempts": run.attempts,
        "hedged": run.hedged,
        "with_deadline": has_deadline,
        "in_time": answered & has_deadline & (run.latency_us <= deadline_us),
    }
    ended = np.bincount(number * ENDINGS + run.ended, minlength=len(cells) * ENDINGS).reshape(-1, ENDINGS)
    return Tally(
        kind=cells // len(places.site),
        place=cells % len(places.site),
        calls=np.bincount(number, minlength=len(cells)),
        ended=ended,
        sums={name: summed(number, each, len(cells)) for name, each in columns.items()},
        stopped=_stopped(number, run, ~answered),
    )


def summed(label: Ints, values: npt.NDArray[Any], groups: int) -> Floats:
    """Return the sum of values by label, float64[groups]."""
    if not values.any():
        return np.zeros(groups)
    return np.bincount(label, weights=values, minlength=groups).astype(np.float64, copy=False)


def _numbered(ids: Ints, size: int) -> tuple[Ints, Ints]:
    """Return the ids in use, sorted, and the number of each call's among them."""
    if size > max(BINS_MIN, BINS_PER_CALL * len(ids)):
        cells, number = np.unique(ids, return_inverse=True)
        return cells, number.astype(np.int64)
    used = np.bincount(ids, minlength=size) > 0
    return np.flatnonzero(used).astype(np.int64), (np.cumsum(used) - 1)[ids]


def _stopped(number: Ints, run: Run, without: npt.NDArray[np.bool_]) -> Ints:
    codes = (number[without] * ENDINGS + run.ended[without]) * CODES + run.rule[without]
    found, calls = np.unique(codes, return_counts=True)
    return np.stack([found // CODES // ENDINGS, found // CODES % ENDINGS, found % CODES, calls], axis=1)


def is_answered(run: Run) -> npt.NDArray[np.bool_]:
    """Return which calls got an answer, bool[calls]."""
    answers = np.zeros(ENDINGS, dtype=np.bool_)
    answers[list(ANSWERED)] = True
    return answers[run.ended]
