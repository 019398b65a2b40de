"""What a policy limits, as quotas: each with its measure, its model, its period and its least limit."""

from dataclasses import dataclass
from typing import NamedTuple

from infercast.policies.parts import Budget, Limits, ModelLimits
from infercast.policies.units import nusd, ppm

from ..ledger.ports import Measure, Quota
from .periods import OF_WORD, Period

OF_CALLS = (
    ("requests_per_minute", Measure.CALLS),
    ("tokens_per_minute", Measure.TOKENS),
    ("concurrent_max", Measure.RUNNING),
)
NAMES = {measure: part for part, measure in OF_CALLS}
PER = {Measure.CALLS: "minute", Measure.TOKENS: "minute", Measure.RUNNING: ""}


class Rule(NamedTuple):
    """One limit: `model` is empty where all models have it together; `per` is minute, day, month, or empty for calls at once."""

    model: str
    measure: Measure
    per: str
    limit: int

    def quota(self, tenant: str, at_s: int) -> tuple[Quota, Period]:
        """Return the quota at an instant, and its period."""
        period = OF_WORD[self.per](at_s)
        return Quota(tenant, self.model, self.measure, period.name), period


class Alert(NamedTuple):
    """A share of a budget whose spending is told."""

    model: str
    per: str
    limit: int
    share_ppm: int


@dataclass(frozen=True, slots=True)
class Rules:
    """All of one tenant's."""

    rules: tuple[Rule, ...]
    alerts: tuple[Alert, ...]

    def of(self, model: str) -> tuple[Rule, ...]:
        """Return those that bind calls of a model: its own, and those of all together."""
        return tuple(rule for rule in self.rules if rule.model in ("", model))


def word_of(quota: Quota) -> str:
    """Return what policies call a limit."""
    return f"budget_usd_per_{per_of(quota)}" if quota.measure is Measure.MONEY else NAMES[quota.measure]


def per_of(quota: Quota) -> str:
    """Return whether a budget is for a day or for a month."""
    return "month" if len(quota.period) == len("2026-11") else "day"


def rules_of(limits: Limits) -> Rules:
    """Return a policy's limits as rules. Of several budgets for the same the least binds."""
    rules = [*_of_calls("", limits)]
    for model, own in limits.per_model.items():
        rules += _of_calls(model, own)
    least: dict[tuple[str, str], int] = {}
    alerts: set[Alert] = set()
    for budget in _budgets(limits):
        limit = nusd(budget.usd)
        for model in budget.models or ("",):
            if budget.when_spent == "refuse":
                at = (model, budget.per)
                least[at] = min(least.get(at, limit), limit)
            alerts |= {Alert(model, budget.per, limit, ppm(share)) for share in budget.alert_at}
    rules += [Rule(model, Measure.MONEY, per, limit) for (model, per), limit in least.items()]
    return Rules(tuple(rules), tuple(sorted(alerts)))


def _of_calls(model: str, limits: ModelLimits) -> list[Rule]:
    found = ((measure, getattr(limits, part)) for part, measure in OF_CALLS)
    return [Rule(model, measure, PER[measure], limit) for measure, limit in found if limit is not None]


def _budgets(limits: Limits) -> list[Budget]:
    whole = ((limits.budget_usd_per_day, "day"), (limits.budget_usd_per_month, "month"))
    stated = [Budget.model_validate({"per": per, "usd": usd}) for usd, per in whole if usd is not None]
    return [*stated, *limits.budgets]
