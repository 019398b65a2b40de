"""A candidate's verdict in words, read off the very arrays that the kernel filled."""

from . import kernel
from .compiled import Compiled
from .fleet import Fleet
from .model import Preference, Rule, Verdict
from .snapshot import NEVER_US, Snapshot
from .units import ms, usd


def verdict_of(fleet: Fleet, compiled: Compiled, row: int, snapshot: Snapshot) -> Verdict:
    """Return the verdict on one row of the last call."""
    index = compiled.deployments[row]
    deployment = fleet.deployments[index]
    out = [int(value) for value in compiled.out[row]]
    rule = Rule(out[kernel.O_RULE])
    reachable = fleet.network.path(compiled.entry, deployment.site) is not None
    return Verdict(
        deployment=deployment.id,
        variant=deployment.variant,
        site=deployment.site,
        tier=fleet.site_by_id[deployment.site].tier,
        rule=rule,
        detail=_detail(compiled, row, rule, out, snapshot),
        latency_us=out[kernel.O_LATENCY_US] if reachable else 0,
        deadline_latency_us=out[kernel.O_DEADLINE_LATENCY_US] if reachable else 0,
        price_nusd=out[kernel.O_PRICE] if reachable else 0,
        accuracy_ppm=compiled.accuracy_ppm[row],
        score=out[kernel.O_PRIMARY] if reachable else 0,
        shares=_shares(compiled, out) if reachable else (),
        signals=_signals(snapshot, index),
        notes=_notes(compiled, row),
    )


def _shares(compiled: Compiled, out: list[int]) -> tuple[tuple[str, int], ...]:
    preference = compiled.policy.objective.preference
    if preference is Preference.BALANCED:
        return (
            ("price", out[kernel.O_PRICE]),
            ("waiting", out[kernel.O_WAITING]),
            ("error", out[kernel.O_ERROR]),
            ("exposure", out[kernel.O_EXPOSURE]),
        )
    name = {
        Preference.CHEAPEST: "price",
        Preference.FASTEST: "waiting",
        Preference.MOST_ACCURATE: "error",
        Preference.MOST_PRIVATE: "exposure",
    }[preference]
    return ((name, out[kernel.O_PRIMARY]),)


def _signals(snapshot: Snapshot, index: int) -> tuple[tuple[str, int], ...]:
    row = snapshot.live[index]
    return (
        ("age_us", int(snapshot.age_us[index])),
        ("in_flight", int(row[kernel.L_IN_FLIGHT])),
        ("service_p50_us", int(row[kernel.L_P50_US])),
        ("service_spread_us", int(row[kernel.L_SPREAD_US])),
    )


def _notes(compiled: Compiled, row: int) -> tuple[str, ...]:
    if compiled.accuracy_ppm[row] is not None:
        return ()
    if compiled.assumed_error_ppm is None:
        return ("accuracy unmeasured: its share is left out",)
    return ("accuracy unmeasured: scored as the worst measured variant",)


def _detail(compiled: Compiled, row: int, rule: Rule, out: list[int], snapshot: Snapshot) -> str:
    static = compiled.vetoes[row]
    if static is not None:
        return static.detail
    live = snapshot.live[compiled.deployments[row]]
    quantile = compiled.policy.deadline_quantile
    estimate = f"{quantile} {ms(out[kernel.O_DEADLINE_LATENCY_US]):.1f} ms"
    deadline = f"deadline {ms(int(compiled.params[kernel.P_DEADLINE_US])):.1f} ms"
    age_us = int(snapshot.age_us[compiled.deployments[row]])
    heard = "never heard of" if age_us == NEVER_US else f"last heard of {age_us / 1e6:.1f} s ago, or it says so itself"
    return {
        Rule.NONE: "eligible",
        Rule.PRICE: f"price {usd(out[kernel.O_PRICE]):.9f} USD is above the ceiling "
        f"{usd(int(compiled.params[kernel.P_PRICE_MAX])):.9f}",
        Rule.DEADLINE: f"{estimate} is past the {deadline}",
        Rule.DEADLINE_LOAD: f"{estimate} is past the {deadline} for its load alone",
        Rule.CAPACITY: f"full: there is room for {int(live[kernel.L_QUEUE_MAX])} calls",
        Rule.HEALTH: f"not healthy: {heard}",
        Rule.TRIED: "tried for this call already, and failed",
    }[rule]
