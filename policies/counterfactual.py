"""What would have to change for a candidate to win: the least change of one thing, checked by deciding again.

A change is named only when it is enough by itself; a veto by files (residency, privacy, accuracy floor) names the rule.
"""

from dataclasses import dataclass

from .model import STATIC_RULES, Decision, Preference, Rule, Verdict
from .policy import Policy, Terms
from .units import NUSD_PER_USD, PPM, US_PER_S, ms, nusd, usd


@dataclass(frozen=True, slots=True)
class Change:
    """One sufficient change: `what` moves by `delta` (in `unit`, negative is less); `said` is the sentence."""

    what: str
    delta: int
    unit: str
    said: str


def least_change(decision: Decision, verdict: Verdict, terms: Terms | Policy) -> Change | None:
    """Return the least single change that would make a candidate the choice; None for the chosen one, and where no way leads."""
    if decision.chosen == verdict.deployment or verdict.rule is Rule.PATH_NONE:
        return None
    if verdict.rule in STATIC_RULES and verdict.rule is not Rule.NONE:
        return Change("rule", 0, "", f"only if {verdict.rule.word} allowed it")
    if verdict.rule in (Rule.DEADLINE, Rule.DEADLINE_LOAD):
        over_us = verdict.deadline_latency_us - decision.deadline_us
        said = (
            f"only if it were {ms(over_us):.2f} ms faster ({terms.deadline_quantile}) or the deadline that much later"
        )
        return Change("latency", -over_us, "us", said)
    if verdict.rule is not Rule.NONE:
        return Change("rule", 0, "", f"only without {verdict.rule.word}")
    if decision.chosen is None:
        return None
    rivals = [other for other in decision.verdicts if other.rule is Rule.NONE and other is not verdict]
    changes = _changes(rivals, decision.verdict_of(decision.chosen), verdict, terms)
    return min(changes, key=lambda change: abs(change.delta) / _scale(change, verdict), default=None)


def _scale(change: Change, verdict: Verdict) -> int:
    """Changes of different things compare by their size relative to what is there now."""
    now = {"latency": verdict.latency_us, "price": verdict.price_nusd, "accuracy": verdict.accuracy_ppm or PPM}
    return max(1, now[change.what])


def _changes(rivals: list[Verdict], best: Verdict, verdict: Verdict, terms: Terms | Policy) -> list[Change]:
    preference = terms.objective.preference
    gap = verdict.score - best.score + 1
    if preference is Preference.BALANCED:
        # Under a spread only a lead beyond the margin is sure to win; near-ties are drawn.
        least = min(rival.score for rival in rivals)
        gap = verdict.score - least + nusd(terms.behaviour.spread_margin_usd) + 1
    # An unmeasured rival counts as the worst measured variant, which this one may be: both would rise together.
    comparable = all(rival.accuracy_ppm is not None for rival in rivals)
    if preference is Preference.FASTEST:
        return _faster(gap, verdict)
    if preference is Preference.CHEAPEST:
        return _cheaper(gap, verdict)
    if preference is Preference.MOST_ACCURATE:
        return _more_accurate(gap, verdict) if comparable else []
    if preference is Preference.MOST_PRIVATE:
        return _faster(verdict.latency_us - best.latency_us + 1, verdict) if verdict.score == best.score else []
    found = _cheaper(gap, verdict)
    if rate := nusd(terms.objective.waiting.usd_per_second):
        found += _faster(-(-gap * US_PER_S // rate) + 1, verdict)
    if comparable and (rate := nusd(terms.objective.usd_per_error)):
        found += _more_accurate(-(-gap * PPM // rate) + 1, verdict)
    return found


def _faster(less_us: int, verdict: Verdict) -> list[Change]:
    if not 0 < less_us <= verdict.latency_us:
        return []
    to_ms = ms(verdict.latency_us - less_us)
    return [Change("latency", -less_us, "us", f"would win if latency were {to_ms:.2f} ms ({-ms(less_us):.2f} ms)")]


def _cheaper(less_nusd: int, verdict: Verdict) -> list[Change]:
    if not 0 < less_nusd <= verdict.price_nusd:
        return []
    to_usd = usd(verdict.price_nusd - less_nusd)
    said = f"would win if it cost {to_usd:.9f} USD ({-less_nusd / NUSD_PER_USD:.9f})"
    return [Change("price", -less_nusd, "nUSD", said)]


def _more_accurate(more_ppm: int, verdict: Verdict) -> list[Change]:
    if verdict.accuracy_ppm is None or not 0 < more_ppm <= PPM - verdict.accuracy_ppm:
        return []
    to_share = (verdict.accuracy_ppm + more_ppm) / PPM
    return [Change("accuracy", more_ppm, "ppm", f"would win if accuracy were {to_share:.4f} (+{more_ppm / PPM:.4f})")]
