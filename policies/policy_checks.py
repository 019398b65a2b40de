"""Words of a policy file held against the fleet: each one that nobody declared is a fault, with its line."""

from collections.abc import Iterable
from pathlib import Path

from .documents import Document, Location
from .faults import Fault, did_you_mean
from .fleet import Fleet
from .parts import Constraints, Places, Residency
from .policy import Body, Override


def check_names(document: Document, body: Body, fleet: Fleet) -> Iterable[Fault]:
    """Return a fault for each name in a policy file or base that the fleet does not know."""
    for index, model in enumerate(body.models or ()):
        yield from _model(document, ("models", index), model, fleet)
    yield from _check_block(document, ("always",), body.always, fleet)
    for name, block in body.classes.items():
        yield from _check_block(document, ("classes", name), block, fleet)
    for index, override in enumerate(body.overrides):
        yield from _check_override(document, ("overrides", index), override, fleet)
    for model in body.limits.per_model:
        yield from _model(document, ("limits", "per_model", model), model, fleet)
    for index, budget in enumerate(body.limits.budgets):
        for number, model in enumerate(budget.models or ()):
            yield from _model(document, ("limits", "budgets", index, "models", number), model, fleet)
    cache = body.behaviour.cache
    if cache is not None and cache.similar is not None:
        yield from _check_similar(document, cache.similar.model, body, fleet)


def _model(document: Document, at: Location, model: str, fleet: Fleet) -> Iterable[Fault]:
    if model not in fleet.model_by_id:
        yield document.fault(at, f"no model is called {model!r}", did_you_mean(model, fleet.model_by_id))


def _check_similar(document: Document, model: str, body: Body, fleet: Fleet) -> Iterable[Fault]:
    at = ("behaviour", "cache", "similar", "model")
    embedding = [each.id for each in fleet.models if each.task == "embedding"]
    if model not in embedding:
        yield document.fault(at, f"no embedding model is called {model!r}", did_you_mean(model, embedding))
    elif body.models is not None and model not in body.models:
        yield document.fault(at, f"{model!r} is not among the models that may be called", "add it to `models`")


def _check_override(document: Document, at: Location, override: Override, fleet: Fleet) -> Iterable[Fault]:
    when = override.when
    if not when.model_fields_set - {"zone"}:
        yield document.fault((*at, "when"), "names no calls and no time", "what always holds stands in `always`")
    for part in ("models", "origins"):
        if getattr(when, part) == ():
            yield document.fault((*at, "when", part), "names none, so it would never apply", "leave it out for all")
    if override.constraints is None and override.objective is None:
        yield document.fault(at, "changes nothing", "add constraints or an objective")
    for index, model in enumerate(when.models or ()):
        yield from _model(document, (*at, "when", "models", index), model, fleet)
    places = (*fleet.site_by_id, *fleet.zone_by_id)
    for index, word in enumerate(when.origins or ()):
        here = (*at, "when", "origins", index)
        if word not in places and not fleet.world.knows(word):
            remedy = did_you_mean(word, [*places, *fleet.world.words()])
            yield document.fault(here, f"{word!r} is no place, no country and no jurisdiction", remedy)
        elif word in places and fleet.world.knows(word):
            yield document.fault(here, f"{word!r} is both a place and a jurisdiction", "rename one in the fleet")
    if override.constraints is not None:
        yield from _check_block(document, (*at, "constraints"), override.constraints, fleet)


def _check_block(document: Document, at: Location, block: Constraints, fleet: Fleet) -> Iterable[Fault]:
    for part in Residency.model_fields:
        yield from _check_places(document, (*at, "residency", part), getattr(block.residency, part), fleet)
    if block.log is not None:
        yield from _check_places(document, (*at, "log", "residency"), block.log.residency, fleet)
    operators = block.privacy.operators
    known_operators = {site.operator for site in fleet.sites if site.operator}
    for word in (*(operators.allow or ()), *operators.deny) if operators else ():
        if word not in known_operators:
            remedy = did_you_mean(word, known_operators)
            yield document.fault((*at, "privacy", "operators"), f"no site's operator is {word!r}", remedy)
    known_marks = {mark for site in fleet.sites for mark in site.trust.certifications}
    for word in block.privacy.certifications:
        if word not in known_marks:
            remedy = did_you_mean(word, known_marks)
            yield document.fault((*at, "privacy", "certifications"), f"no site is certified {word!r}", remedy)
    for model in block.accuracy_min:
        yield from _model(document, (*at, "accuracy_min", model), model, fleet)


def _check_places(document: Document, at: Location, places: Places | None, fleet: Fleet) -> Iterable[Fault]:
    for word in (*(places.allow or ()), *places.deny) if places else ():
        if not fleet.world.knows(word):
            remedy = did_you_mean(word, fleet.world.words())
            yield document.fault(at, f"{word!r} is no country and no jurisdiction", remedy)


def check_unread(folder: Path, tenants: set[str]) -> Iterable[Fault]:
    """Return a fault for each file of a folder of policies that looks as if it were read, and is not."""
    for inside in (folder, folder / "base", folder / "shadow"):
        for path in sorted(inside.glob("*.yml")):
            yield Fault(str(path), 0, "", "is not read", f"call it {path.stem}.yaml")
    for path in sorted(folder.glob("*.cases.yaml")):
        tenant = path.name.removesuffix(".cases.yaml")
        if tenant not in tenants:
            yield Fault(str(path), 0, "", f"no tenant is called {tenant!r}", did_you_mean(tenant, tenants))
    for path in sorted((folder / "shadow").glob("*.yaml")):
        if path.stem not in tenants:
            remedy = did_you_mean(path.stem, tenants)
            yield Fault(str(path), 0, "", f"is the shadow of no tenant: none is called {path.stem!r}", remedy)
