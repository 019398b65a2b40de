"""A policy and the base that it extends, as one: what the file states, what it inherits, and where it is looser."""

from typing import Any

from .fleet import Fleet
from .model import Quantile
from .parts import BUDGETS_MAX, Behaviour, Constraints
from .policy import CLAIMS_MAX, CLASSES_MAX, OVERRIDES_MAX, Body, Override
from .tightening import At, Looser, looser, looser_limits, merge, merge_limits

_QUANTILES = tuple(Quantile)


def looser_parts(base: Body, own: Body, fleet: Fleet) -> list[Looser]:
    """Return each part of a file that is looser than its base: where it stands in the file, and what is wrong.

    Objectives and behaviour are not compared: they choose among what the vetoes leave.
    """
    found = [(("always", *at), said) for at, said in looser(base.always, own.always, fleet)]
    for name in own.classes.keys() & base.classes.keys():
        found += [(("classes", name, *at), said) for at, said in looser(base.classes[name], own.classes[name], fleet)]
    if base.models is not None and "models" in own.model_fields_set:
        more = sorted(set(own.models or ()) - set(base.models))
        if own.models is None or more:
            said = ", ".join(more) or "every model"
            found.append((("models",), f"permits {said}, the base permits {', '.join(base.models) or 'none'}"))
    if "deadline_quantile" in own.model_fields_set:
        ranks = _QUANTILES.index(own.deadline_quantile), _QUANTILES.index(base.deadline_quantile)
        if ranks[0] < ranks[1]:
            said = f"{own.deadline_quantile} keeps fewer deadlines than the base's {base.deadline_quantile}"
            found.append((("deadline_quantile",), said))
    return found + looser_limits(base.limits, own.limits)


def too_much(base: Body, own: Body) -> list[Looser]:
    """Return what a file and its base hold too much of together; each alone may be within its bounds."""
    together: tuple[tuple[At, str, int, int], ...] = (
        (("classes",), "classes", len({*base.classes, *own.classes}), CLASSES_MAX),
        (("overrides",), "overrides", len(base.overrides) + len(own.overrides), OVERRIDES_MAX),
        (("claims",), "claims", len(base.claims) + len(own.claims), CLAIMS_MAX),
        (("limits", "budgets"), "budgets", len({*base.limits.budgets, *own.limits.budgets}), BUDGETS_MAX),
    )
    return [(at, f"{n} {what} with those of the base, at most {most}") for at, what, n, most in together if n > most]


def merged(base: Body, own: Body, fleet: Fleet) -> dict[str, Any]:
    """Return the parts of a base and a file as one, only those that either states.

    Vetoes of both bind. A stated objective takes the place of the base's, its overrides' objectives included; behaviour
    is taken over key by key; claims and the base's other overrides stay.
    """
    stated = own.model_fields_set
    parts: dict[str, Any] = {
        "version": own.version,
        "description": own.description or base.description,
        "extends": own.extends,
        "always": merge(base.always, own.always, fleet),
        "classes": _classes(base, own, fleet),
        "overrides": (*_kept(base, stated), *own.overrides),
        "limits": merge_limits(base.limits, own.limits),
        "claims": (*base.claims, *own.claims),
        "behaviour": _behaviour(base.behaviour, own.behaviour),
        "objective": own.objective if "objective" in stated else base.objective,
    }
    quantile = max(base.deadline_quantile, own.deadline_quantile, key=_QUANTILES.index)
    if "deadline_quantile" in base.model_fields_set | stated:
        inherits = "deadline_quantile" not in stated
        parts["deadline_quantile"] = base.deadline_quantile if inherits else quantile
    models = own.models if base.models is None else base.models
    if base.models is not None and own.models is not None:
        models = tuple(model for model in own.models if model in base.models)
    if models is not None:
        parts["models"] = models
    if not base.model_fields_set & {"objective"} and "objective" not in stated:
        del parts["objective"]
    return parts


def _classes(base: Body, own: Body, fleet: Fleet) -> dict[str, Constraints]:
    nothing = Constraints()
    names = dict.fromkeys((*base.classes, *own.classes))
    return {name: merge(base.classes.get(name, nothing), own.classes.get(name, nothing), fleet) for name in names}


def _kept(base: Body, stated: set[str]) -> tuple[Override, ...]:
    if "objective" not in stated:
        return base.overrides
    bare = (override.model_copy(update={"objective": None}) for override in base.overrides)
    return tuple(override for override in bare if override.constraints is not None)


def _behaviour(base: Behaviour, own: Behaviour) -> Behaviour:
    stated = {name: getattr(own, name) for name in own.model_fields_set}
    inherited = {name: getattr(base, name) for name in base.model_fields_set - own.model_fields_set}
    return Behaviour(**inherited, **stated)
