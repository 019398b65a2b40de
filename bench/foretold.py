"""What the journal says of foretold times: how many calls were under each quantile, and how soon a change was known."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

QUANTILES = (50, 90, 95, 99)
P95 = 2
NEAR = 0.15
AFTER_CALLS = 200
AROUND_CALLS = 20
"""The estimate after 200 calls is the median of those made for so many calls from there on: each one also depends on the
calls in flight when it was made."""


@dataclass(frozen=True)
class Call:
    """One call of a phase of a stream, as its entry wrote it down. `given_up` counts attempts that brought no answer."""

    phase: str
    stream: str
    number: int
    answered: bool
    given_up: int
    expected_us: tuple[int, ...] = ()
    ran_us: int = 0


@dataclass(frozen=True)
class Share:
    """Of `attempts` whose time was foretold, how many percent were under p50, p90, p95 and p99."""

    name: str
    attempts: int
    given_up: int
    under: tuple[float, ...]


@dataclass(frozen=True)
class Change:
    """How a stream's foretold p95 followed a change of what its calls take. Times in ms; `off` is estimate / truth - 1."""

    name: str
    before_ms: float
    truth_ms: float
    estimate_ms: float
    off: float
    own_off: float
    """The same for someone who takes the p95 of exactly the first 200 calls, and knows that all of them are new."""
    course: tuple[float, ...]
    """Foretold p95 over the truth, call by call."""

    @property
    def near(self) -> bool:
        """Whether the estimate after 200 calls was within 15% of the truth."""
        return abs(self.off) <= NEAR


def calls_of(lines: Iterable[dict[str, Any]]) -> list[Call]:
    """Return the bench's own calls among a journal's lines, each stream's in the order they were sent."""
    found = []
    for line in lines:
        parts = str(line.get("request", "")).split("/")
        if line.get("kind") != "call" or len(parts) != 4:
            continue
        phase, entry, model, number = parts
        answered = line["outcome"] == "answered"
        given_up = len(line["attempts"]) - answered
        times = (tuple(line["expected_us"]), int(line["ran_us"])) if answered else ((), 0)
        found.append(Call(phase, f"{model} at {entry}", int(number), answered, given_up, *times))
    return sorted(found, key=lambda call: (call.phase, call.stream, call.number))


def share_of(name: str, calls: Sequence[Call]) -> Share:
    """Return how calls fell against what was foretold of them. An attempt that was given up was above every quantile."""
    answered = [call for call in calls if call.answered]
    given_up = sum(call.given_up for call in calls)
    attempts = len(answered) + given_up
    under = tuple(
        100 * sum(call.ran_us <= call.expected_us[at] for call in answered) / max(1, attempts)
        for at in range(len(QUANTILES))
    )
    return Share(name, attempts, given_up, under)


def change_of(name: str, before: Sequence[Call], after: Sequence[Call]) -> Change:
    """Return how the p95 foretold of the calls `after` a change followed it. The truth is those calls' own p95."""
    before, after = ([call for call in calls if call.answered] for calls in (before, after))
    ran_us = [call.ran_us for call in after]
    truth_us = float(np.percentile(ran_us, 95))
    foretold_us = [call.expected_us[P95] for call in after]
    estimate_us = float(np.median(foretold_us[AFTER_CALLS : AFTER_CALLS + AROUND_CALLS]))
    return Change(
        name,
        float(np.percentile([call.ran_us for call in before], 95)) / 1000,
        truth_us / 1000,
        estimate_us / 1000,
        estimate_us / truth_us - 1,
        float(np.percentile(ran_us[:AFTER_CALLS], 95)) / truth_us - 1,
        tuple(round(us / truth_us, 4) for us in foretold_us),
    )
