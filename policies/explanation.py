"""Candidates' verdicts in words, read off the very arrays that the kernel filled."""

from collections.abc import Callable

import numpy as np

from . import kernel
from .compiled import Compiled
from .fleet import Fleet
from .model import Preference, Rule, Verdict
from .snapshot import NEVER_US, Snapshot
from .tables import Table
from .units import ms, usd

Shares = tuple[tuple[str, int], ...]
SHARE_OF = {
    Preference.CHEAPEST: "price",
    Preference.FASTEST: "waiting",
    Preference.MOST_ACCURATE: "error",
    Preference.MOST_PRIVATE: "exposure",
}
LEFT_OUT = ("accuracy unmeasured: its share is left out",)
AS_WORST = ("accuracy unmeasured: scored as the worst measured variant",)


def verdicts_of(
    fleet: Fleet, kind: Compiled, out: Table, snapshot: Snapshot, payload_bytes: int, deadline_us: int
) -> tuple[Verdict, ...]:
    """Return the verdict on every candidate of a call that `kernel.evaluate` has filled `out` for."""
    candidates = kind.deployments
    size = int(kernel.size_of(payload_bytes))
    columns = [kernel.L_IN_FLIGHT, kernel.L_P50_US + size, kernel.L_SPREAD_US + size, kernel.L_QUEUE_MAX]
    numbers = np.array(candidates, dtype=np.intp)
    lives = snapshot.live[numbers[:, None], columns].tolist()
    ages_us = snapshot.age_us[numbers].tolist()
    reached = (fleet.tables.fixed(kind.entry, kind.model)[kernel.F_PS_PER_BYTE] != 0).tolist()
    unmeasured = LEFT_OUT if kind.assumed_error_ppm is None else AS_WORST
    shares_of = _shares_of(kind)
    said = _Words(kind, deadline_us)
    found = []
    for at, (index, row) in enumerate(zip(candidates, out.tolist(), strict=True)):
        deployment, accuracy_ppm, live = fleet.deployments[index], fleet.tables.accuracy_ppm(index), lives[at]
        rule, way = RULES[row[kernel.O_RULE]], reached[at]
        found.append(
            Verdict(
                deployment.id,
                deployment.variant,
                deployment.site,
                fleet.site_by_id[deployment.site].tier,
                rule,
                "eligible" if rule is Rule.NONE else said.detail(rule, index, row, ages_us[at], live[3]),
                row[kernel.O_LATENCY_US] if way else 0,
                row[kernel.O_DEADLINE_LATENCY_US] if way else 0,
                row[kernel.O_PRICE] if way else 0,
                accuracy_ppm,
                row[kernel.O_PRIMARY] if way else 0,
                shares_of(row) if way else (),
                (
                    ("age_us", ages_us[at]),
                    ("in_flight", live[0]),
                    ("service_p50_us", live[1]),
                    ("service_spread_us", live[2]),
                ),
                () if accuracy_ppm is not None else unmeasured,
            )
        )
    return tuple(found)


RULES = tuple(sorted(Rule))


def _shares_of(kind: Compiled) -> Callable[[list[int]], Shares]:
    """Return how a row of the outcome table is split into what its score is the sum of."""
    preference = kind.terms.objective.preference
    if preference is Preference.BALANCED:
        return lambda row: (
            ("price", row[kernel.O_PRICE]),
            ("waiting", row[kernel.O_WAITING]),
            ("error", row[kernel.O_ERROR]),
            ("exposure", row[kernel.O_EXPOSURE]),
        )
    name = SHARE_OF[preference]
    return lambda row: ((name, row[kernel.O_PRIMARY]),)


class _Words:
    """What one kind of call has to say of its vetoes."""

    def __init__(self, kind: Compiled, deadline_us: int) -> None:
        self._kind = kind
        self._quantile = kind.terms.deadline_quantile
        self._deadline = f"deadline {ms(deadline_us):.1f} ms"
        self._price_max = f"{usd(int(kind.params[kernel.P_PRICE_MAX])):.9f}"

    def detail(self, rule: Rule, index: int, row: list[int], age_us: int, queue_max: int) -> str:
        """Return why a candidate is vetoed, with the values compared."""
        if rule <= Rule.ACCURACY:
            veto = self._kind.veto(index)
            return "" if veto is None else veto.detail
        if rule is Rule.PRICE:
            return f"price {usd(row[kernel.O_PRICE]):.9f} USD is above the ceiling {self._price_max}"
        if rule in (Rule.DEADLINE, Rule.DEADLINE_LOAD):
            estimate = f"{self._quantile} {ms(row[kernel.O_DEADLINE_LATENCY_US]):.1f} ms is past the {self._deadline}"
            return estimate if rule is Rule.DEADLINE else f"{estimate} for its load alone"
        if rule is Rule.CAPACITY:
            return f"full: there is room for {queue_max} calls"
        if rule is Rule.HEALTH:
            heard = f"last heard of {age_us / 1e6:.1f} s ago, or it says so itself"
            return f"not healthy: {'never heard of' if age_us == NEVER_US else heard}"
        return "tried for this call already, and failed"
