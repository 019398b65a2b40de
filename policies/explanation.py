"""Candidates' verdicts in words, read off the very arrays that the kernel filled."""

from collections.abc import Iterator
from functools import partial
from itertools import repeat

import numpy as np

from . import kernel
from .compiled import Compiled
from .fleet import Fleet
from .model import Preference, Rule, Verdict
from .snapshot import NEVER_US, TRIED_OUT_US, Snapshot
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
BALANCED = {
    "price": kernel.O_PRICE,
    "waiting": kernel.O_WAITING,
    "error": kernel.O_ERROR,
    "exposure": kernel.O_EXPOSURE,
}
ESTIMATES = (kernel.O_LATENCY_US, kernel.O_DEADLINE_LATENCY_US, kernel.O_PRICE, kernel.O_PRIMARY)
RULES = tuple(sorted(Rule))
_verdict = partial(tuple.__new__, Verdict)


def verdicts_of(
    fleet: Fleet, kind: Compiled, out: Table, snapshot: Snapshot, payload_bytes: int, deadline_us: int
) -> tuple[Verdict, ...]:
    """Return the verdict on every candidate of a call that `kernel.evaluate` has filled `out` for.

    They are put together from columns: a thousand rows read one by one would take twice as long.
    """
    columns: list[list[int]] = out.T.tolist()
    rules = [RULES[code] for code in columns[kernel.O_RULE]]
    signals = _signals(kind, snapshot, payload_bytes)
    shares = list(_labelled({name: columns[at] for name, at in _shares_of(kind).items()}))
    for at in np.flatnonzero(fleet.tables.fixed(kind.entry, kind.model)[kernel.F_PS_PER_BYTE] == 0).tolist():
        shares[at] = ()  # no way leads there: what the kernel made of it means nothing
        for column in ESTIMATES:
            columns[column][at] = 0
    latencies_us, deadline_latencies_us, prices, scores = (columns[column] for column in ESTIMATES)
    *names, accuracies_ppm = fleet.tables.standing(kind.model)
    unmeasured = LEFT_OUT if kind.assumed_error_ppm is None else AS_WORST
    columns_said = (
        *names,
        rules,
        _details(kind, rules, out, snapshot, deadline_us),
        latencies_us,
        deadline_latencies_us,
        prices,
        accuracies_ppm,
        scores,
        shares,
        _labelled(signals),
        [unmeasured if accuracy_ppm is None else () for accuracy_ppm in accuracies_ppm],
    )
    return tuple(map(_verdict, zip(*columns_said, strict=True)))


def _labelled(columns: dict[str, list[int]]) -> Iterator[Shares]:
    """Give each row of some columns as pairs of a column's name and its value."""
    pairs = [zip(repeat(name), column, strict=False) for name, column in columns.items()]
    return zip(*pairs, strict=True)


def _signals(kind: Compiled, snapshot: Snapshot, payload_bytes: int) -> dict[str, list[int]]:
    """Return what is believed of each candidate, by its name in the record."""
    numbers = np.array(kind.deployments, dtype=np.intp)
    size = int(kernel.size_of(payload_bytes))
    columns = [kernel.L_IN_FLIGHT, kernel.L_P50_US + size, kernel.L_SPREAD_US + size]
    in_flight, p50_us, spread_us = snapshot.live[numbers[:, None], columns].T.tolist()
    ages_us = snapshot.age_us[numbers].tolist()
    return {"age_us": ages_us, "in_flight": in_flight, "service_p50_us": p50_us, "service_spread_us": spread_us}


def _shares_of(kind: Compiled) -> dict[str, int]:
    """Return the columns of the outcome table that a score is the sum of, by their names in the record."""
    preference = kind.terms.objective.preference
    return BALANCED if preference is Preference.BALANCED else {SHARE_OF[preference]: kernel.O_PRIMARY}


def _details(kind: Compiled, rules: list[Rule], out: Table, snapshot: Snapshot, deadline_us: int) -> list[str]:
    """Return why each candidate is vetoed."""
    details = ["eligible"] * len(rules)
    said = _Words(kind, deadline_us)
    for at in np.flatnonzero(out[:, kernel.O_RULE]).tolist():
        index = kind.deployments[at]
        queue_max = int(snapshot.live[index, kernel.L_QUEUE_MAX])
        circuit_us = int(snapshot.circuit_us[index])
        if rules[at] is Rule.HEALTH and circuit_us:
            details[at] = _broken(circuit_us)
            continue
        details[at] = said.detail(rules[at], index, out[at].tolist(), int(snapshot.age_us[index]), queue_max)
    return details


def _broken(circuit_us: int) -> str:
    """Return why a deployment is not called whose circuit is open: calls of this entry's own failed there."""
    if circuit_us == TRIED_OUT_US:
        return "not healthy: its circuit is half open after calls that failed, and one call is trying it out"
    return f"not healthy: its circuit is open for {circuit_us / 1e6:.1f} s more, after calls that failed"


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
        if rule is Rule.VERSION:
            return "another version was asked for"
        return "tried for this call already, and failed"
