"""A tenant may only tighten its base: what makes one block looser than another, and both of them as one.

A looser part is a fault when the file is loaded, so that nobody learns at run time that a line of theirs has no effect.
Preferences are free: they never permit what a rule vetoes.
"""

from collections.abc import Iterable
from typing import Any

from .fleet import Fleet
from .parts import Constraints, Limits, Log, ModelLimits, Operators, Places, Privacy, Residency

At = tuple[str | int, ...]
Looser = tuple[At, str]
SHOWN_MAX = 6
SINGLE = tuple(part for part in Limits.model_fields if part not in ("budgets", "per_model"))
"""The limits that are one number."""


def _words(words: Iterable[str]) -> str:
    listed = sorted(words)
    more = f" and {len(listed) - SHOWN_MAX} more" if len(listed) > SHOWN_MAX else ""
    return ", ".join(listed[:SHOWN_MAX]) + more


def looser(base: Constraints, tenant: Constraints, fleet: Fleet, *, inherits: bool = True) -> list[Looser]:
    """Return each part of a tenant's block that is looser than its base's: where it stands, and what is wrong.

    With `inherits` a part that the tenant's block does not state is the base's; without, it asks for nothing, which is
    looser than whatever the base asks. An empty list says that nothing which passes the tenant's block fails the base's
    (of an inheriting block: both together).
    """
    found: list[Looser] = []
    for part in Residency.model_fields:
        above, own = getattr(base.residency, part), getattr(tenant.residency, part)
        stated = _stated(tenant, inherits, "residency", part)
        found += [(("residency", part, *at), said) for at, said in _looser_places(above, own, fleet, stated, inherits)]
    found += [(("privacy", *at), said) for at, said in _looser_privacy(base.privacy, tenant, inherits)]
    for part, unit in (("deadline_ms", " ms"), ("price_max_usd", " USD")):
        stated = _stated(tenant, inherits, part)
        found += _above((part,), getattr(base, part), getattr(tenant, part), unit, stated)
    for model, floor in base.accuracy_min.items():
        own_floor = tenant.accuracy_min.get(model)
        if own_floor is None and not inherits:
            found.append((("accuracy_min", model), f"sets no floor, the base sets {floor}"))
        elif own_floor is not None and own_floor < floor:
            found.append((("accuracy_min", model), f"{own_floor} is below the base's {floor}"))
    return found + _looser_log(base.log, tenant, fleet, inherits)


def looser_limits(base: Limits, tenant: Limits) -> list[Looser]:
    """Return each limit of a tenant that is above its base's. Budgets come on top, so only the same one said again can be."""
    found = _above_limits(("limits",), base, tenant, SINGLE)
    for model, above in base.per_model.items():
        if model in tenant.per_model:
            own = tenant.per_model[model]
            found += _above_limits(("limits", "per_model", model), above, own, ModelLimits.model_fields)
    for index, budget in enumerate(tenant.budgets):
        kind = (budget.per, budget.models, budget.when_spent)
        for same in (each for each in base.budgets if (each.per, each.models, each.when_spent) == kind):
            if budget.when_spent == "refuse":
                found += _above(("limits", "budgets", index, "usd"), same.usd, budget.usd, "", stated=True)
    return found


def _above_limits(at: At, base: ModelLimits, tenant: ModelLimits, parts: Iterable[str]) -> list[Looser]:
    found: list[Looser] = []
    for part in parts:
        stated = part in tenant.model_fields_set
        found += _above((*at, part), getattr(base, part), getattr(tenant, part), "", stated)
    return found


def _stated(block: Constraints, inherits: bool, *at: str) -> bool:
    """Return whether a part is to be compared: it is stated, or what is not stated counts as asking for nothing."""
    if not inherits:
        return True
    part: Any = block
    for step in at:
        if part is None or step not in part.model_fields_set:
            return False
        part = getattr(part, step)
    return True


def _above(at: At, above: float | None, own: float | None, unit: str, stated: bool) -> list[Looser]:
    if above is None or not stated:
        return []
    if own is None:
        return [(at, f"sets no limit, the base sets {above:.12g}{unit}")]
    return [(at, f"{own:.12g}{unit} is above the base's {above:.12g}{unit}")] if own > above else []


def _looser_places(
    above: Places | None, own: Places | None, fleet: Fleet, stated: bool, inherits: bool
) -> list[Looser]:
    if above is None or not stated:
        return []
    if own is None:
        return [((), f"asks for nothing, the base permits {_permitted(above)}")]
    if not all(fleet.world.knows(word) for word in own.deny):
        return []  # who denies a place that nobody knows permits nothing
    found: list[Looser] = []
    denied, taken_back = fleet.world.countries(above.deny), fleet.world.countries(own.deny)
    for word in own.allow or () if inherits else ():
        countries = fleet.world.countries([word]) - taken_back
        if countries and countries <= denied:
            found.append((("allow",), f"permits {word}, which the base denies"))
    if above.allow is not None:
        stays_open = own.allow is None and not inherits
        more = fleet.world.countries(own.allow or ()) - taken_back - denied - fleet.world.countries(above.allow)
        if stays_open or more:
            said = "every known country" if stays_open else f"{_words(more)} too"
            found.append((("allow",), f"permits {said}, the base permits {_permitted(above)}"))
    if not inherits:
        open_again = denied - taken_back
        if own.allow is not None:
            open_again &= fleet.world.countries(own.allow)
        unknown = {word for word in above.deny if not fleet.world.knows(word)}
        open_again |= unknown - set(own.deny)  # nothing at all passes who denies a place that nobody knows
        if open_again:
            found.append((("deny",), f"does not deny {_words(open_again)}, which the base denies"))
    return found


def _permitted(places: Places | Operators) -> str:
    allow = "every known one" if places.allow is None else _words(places.allow) or "none"
    return allow + (f" without {_words(places.deny)}" if places.deny else "")


def _looser_privacy(base: Privacy, tenant: Constraints, inherits: bool) -> list[Looser]:
    own = tenant.privacy
    found: list[Looser] = []
    for part in ("tiers", "attestation"):
        above, asked = getattr(base, part), getattr(own, part)
        if above is None or not _stated(tenant, inherits, "privacy", part):
            continue
        if asked is None:
            found.append(((part,), f"asks for nothing, the base permits {_words(above) or 'none'}"))
        elif more := set(asked) - set(above):
            found.append(((part,), f"permits {_words(more)} too, the base permits {_words(above) or 'none'}"))
    if base.operators is not None and _stated(tenant, inherits, "privacy", "operators"):
        found += _looser_operators(base.operators, own.operators, inherits)
    stated = _stated(tenant, inherits, "privacy", "retention_days_max")
    found += _above(("retention_days_max",), base.retention_days_max, own.retention_days_max, " days", stated)
    if base.no_training and not own.no_training and _stated(tenant, inherits, "privacy", "no_training"):
        found.append((("no_training",), "permits training, the base does not"))
    if not inherits and (lacking := set(base.certifications) - set(own.certifications)):
        found.append((("certifications",), f"does not ask for {_words(lacking)}, the base does"))
    return found


def _looser_operators(above: Operators, own: Operators | None, inherits: bool) -> list[Looser]:
    at = ("operators",)
    if own is None:
        return [(at, f"asks for nothing, the base permits {_permitted(above)}")]
    allow = set(own.allow or ()) - set(own.deny)
    found: list[Looser] = []
    if again := allow & set(above.deny):
        found.append(((*at, "allow"), f"permits {_words(again)}, which the base denies"))
    if above.allow is not None and own.allow is None and not inherits:
        found.append((at, f"permits every known operator, the base permits {_permitted(above)}"))
    elif above.allow is not None and (more := allow - set(above.allow) - set(above.deny)):
        found.append(((*at, "allow"), f"permits {_words(more)} too, the base permits {_permitted(above)}"))
    if not inherits and own.allow is None and (lacking := set(above.deny) - set(own.deny)):
        found.append(((*at, "deny"), f"does not deny {_words(lacking)}, which the base denies"))
    return found


def _looser_log(base: Log | None, tenant: Constraints, fleet: Fleet, inherits: bool) -> list[Looser]:
    if base is None or not _stated(tenant, inherits, "log"):
        return []
    own = tenant.log if tenant.log is not None else Log()
    stated = not inherits or tenant.log is None
    found: list[Looser] = []
    if stated or "keep_days" in own.model_fields_set:
        found += _above(("log", "keep_days"), base.keep_days, own.keep_days, " days", stated=True)
    if stated or "residency" in own.model_fields_set:
        places = _looser_places(base.residency, own.residency, fleet, stated=True, inherits=inherits)
        found += [(("log", "residency", *at), said) for at, said in places]
    if not base.decisions and own.decisions and (stated or "decisions" in own.model_fields_set):
        found.append((("log", "decisions"), "has decisions recorded, the base does not"))
    return found


def merge(base: Constraints, tenant: Constraints, fleet: Fleet) -> Constraints:
    """Return one block that vetoes exactly what either of two vetoes."""
    parts: dict[str, Any] = {
        "description": tenant.description or base.description,
        "residency": _merge_residency(base.residency, tenant.residency, fleet),
        "privacy": _merge_privacy(base.privacy, tenant.privacy),
        "deadline_ms": _least(base.deadline_ms, tenant.deadline_ms),
        "price_max_usd": _least(base.price_max_usd, tenant.price_max_usd),
        "accuracy_min": {
            model: max(block.accuracy_min[model] for block in (base, tenant) if model in block.accuracy_min)
            for model in sorted({*base.accuracy_min, *tenant.accuracy_min})
        },
        "log": None if base.log is None and tenant.log is None else merge_logs((base.log, tenant.log), fleet),
    }
    # Only what is asked is stated: a block that was merged may be a base again.
    return Constraints(**{name: part for name, part in parts.items() if part != Constraints.model_fields[name].default})


def merge_logs(logs: Iterable[Log | None], fleet: Fleet) -> Log:
    """Return the tightest reading of several: the fewest days, the places that all permit, none where one says none."""
    given = [log for log in logs if log is not None]
    residency: Places | None = None
    for log in given:
        residency = _merge_places(residency, log.residency, fleet)
    parts: dict[str, Any] = {
        "decisions": all(log.decisions for log in given),
        "keep_days": min((log.keep_days for log in given if log.keep_days is not None), default=None),
        "residency": residency,
    }
    return Log(**{name: part for name, part in parts.items() if part != Log.model_fields[name].default})


def merge_limits(base: Limits, tenant: Limits) -> Limits:
    """Return the lower of each limit, and the budgets of both."""
    merged = _least_limits(base, tenant, SINGLE)
    models = sorted({*base.per_model, *tenant.per_model})
    nothing = ModelLimits()
    per_model = {
        model: ModelLimits(
            **_least_limits(
                base.per_model.get(model, nothing), tenant.per_model.get(model, nothing), ModelLimits.model_fields
            )
        )
        for model in models
    }
    budgets = (*base.budgets, *(budget for budget in tenant.budgets if budget not in base.budgets))
    more: dict[str, Any] = {"per_model": per_model, "budgets": budgets}
    return Limits(**merged, **{part: value for part, value in more.items() if value})


def _least_limits(one: ModelLimits, other: ModelLimits, parts: Iterable[str]) -> dict[str, Any]:
    least = {part: _least(getattr(one, part), getattr(other, part)) for part in parts}
    return {part: value for part, value in least.items() if value is not None}


def _least(one: float | None, other: float | None) -> float | None:
    return min((value for value in (one, other) if value is not None), default=None)


def _united(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*one, *other)))


def _shared(one: tuple[Any, ...] | None, other: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
    if one is None or other is None:
        return other if one is None else one
    return tuple(word for word in other if word in one)


def _merge_places(one: Places | None, other: Places | None, fleet: Fleet) -> Places | None:
    if one is None or other is None:
        return other if one is None else one
    return Places(allow=_inside_both(one.allow, other.allow, fleet), deny=_united(one.deny, other.deny))


def _inside_both(one: tuple[str, ...] | None, other: tuple[str, ...] | None, fleet: Fleet) -> tuple[str, ...] | None:
    """Return words for the countries inside both lists: the narrower list's own words where one lies inside the other."""
    if one is None or other is None:
        return other if one is None else one
    first, second = fleet.world.countries(one), fleet.world.countries(other)
    if second <= first:
        return other
    return one if first <= second else tuple(sorted(first & second))


def _merge_residency(one: Residency, other: Residency, fleet: Fleet) -> Residency:
    merged = {part: _merge_places(getattr(one, part), getattr(other, part), fleet) for part in Residency.model_fields}
    return Residency(**{part: places for part, places in merged.items() if places is not None})


def _merge_privacy(one: Privacy, other: Privacy) -> Privacy:
    operators = one.operators or other.operators
    if one.operators is not None and other.operators is not None:
        allow = _shared(one.operators.allow, other.operators.allow)
        operators = Operators(allow=allow, deny=_united(one.operators.deny, other.operators.deny))
    parts: dict[str, Any] = {
        "tiers": _shared(one.tiers, other.tiers),
        "operators": operators,
        "retention_days_max": _least(one.retention_days_max, other.retention_days_max),
        "no_training": one.no_training or other.no_training,
        "attestation": _shared(one.attestation, other.attestation),
        "certifications": _united(one.certifications, other.certifications),
    }
    return Privacy(**{name: part for name, part in parts.items() if part != Privacy.model_fields[name].default})
