"""Changes of a fleet, carried out on its document before it is loaded: what comes out passes every check of the loader."""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from infercast.policies.documents import Location
from infercast.policies.faults import did_you_mean

from . import changes
from .changes import Change
from .edited import Part

Complain = Callable[[Location, str, str], None]
"""Says what is wrong at a place inside the change: place, message, remedy."""
ENDS = ("from", "to")


def change_fleet(fleet: Part, change: Change, said: Part, complain: Complain) -> None:
    """Carry out a change on a fleet's document, in place; nothing for changes of other things.

    `said` is the change as its file has it. Cards' paths must already be relative to the fleet's folder.
    """
    for key, apply in _BY_KIND.items():
        if getattr(change, key) is not None:
            apply(fleet, _stated(said.at(key)), partial(_inside, key, complain))


def _inside(key: str, complain: Complain, at: Location, message: str, remedy: str) -> None:
    complain((key, *at), message, remedy)


def _stated(said: Part) -> Part:
    """Return a part without the keys that are null: they say nothing."""
    if isinstance(said.value, dict):
        inner = {key: _stated(part) for key, part in said.value.items() if part.value is not None}
        return Part(inner, said.file, said.line)
    if isinstance(said.value, list):
        return Part([_stated(part) for part in said.value], said.file, said.line)
    return said


def rebase_cards(said: Part, folder: Path, fleet_folder: Path) -> None:
    """Make the paths of a change's new variants, relative to `folder`, relative to the fleet's folder."""
    if not isinstance(said.value, dict) or "change_model" not in said.value:
        return
    for variant in said.at("change_model").value.get("add", Part([], "", 0)).value:
        for key in ("card", "artefact"):
            if isinstance(variant.get(key), str):
                variant.value[key].value = os.path.relpath(folder / variant.get(key), fleet_folder)


def link_name(link: Part) -> str:
    """Return a link's name, `from~to`."""
    return "~".join(str(link.get(end)) for end in ENDS)


def deployment_name(deployment: Part) -> str:
    """Return a deployment's name, `variant@site`."""
    return f"{deployment.get('variant')}@{deployment.get('site')}"


def named(fleet: Part, kind: str, name: object) -> list[Part]:
    """Return the parts of a kind (`sites`, `links`, `deployments`, ...) with a name; a link has two, one each way."""
    if kind == "links":
        ends = set(str(name).split("~"))
        return [link for link in fleet.items(kind) if set(link_name(link).split("~")) == ends]
    return [each for each in fleet.items(kind) if _name(kind, each) == name]


def _name(kind: str, each: Part) -> str:
    if kind == "deployments":
        return deployment_name(each)
    return link_name(each) if kind == "links" else str(each.get("id"))


def _find(fleet: Part, kind: str, said: Part, key: str, complain: Complain) -> list[Part]:
    """Return the parts that a change names under `key`; where there is none, say so."""
    name = said.get(key)
    found = named(fleet, kind, name)
    if not found:
        one = kind.removesuffix("s")
        remedy = did_you_mean(name, [_name(kind, each) for each in fleet.items(kind)])
        complain((key,), f"no {one} is called {name!r}", remedy)
    return found


def _without(fleet: Part, kind: str, gone: Iterable[Part]) -> None:
    out = {id(each) for each in gone}
    items = fleet.items(kind)
    items[:] = [each for each in items if id(each) not in out]


def _add(fleet: Part, said: Part, kind: str, key: str) -> None:
    for part in said.value.get(key, said.made([])).value:
        fleet.items(kind).append(part)


def _links_of(fleet: Part, site: str) -> list[Part]:
    return [link for link in fleet.items("links") if site in (link.get("from"), link.get("to"))]


def _add_site(fleet: Part, said: Part, complain: Complain) -> None:
    fleet.items("sites").append(said.at("site"))
    _add(fleet, said, "links", "links")
    _add(fleet, said, "deployments", "deployments")
    _check_ends(said, said.at("site").get("id"), complain)


def _check_ends(said: Part, place: str | None, complain: Complain) -> None:
    """Say so where a link that came with a place does not lead there."""
    for index, link in enumerate(said.value.get("links", said.made([])).value):
        if place not in (link.get("from"), link.get("to")):
            complain(("links", index), f"leads not to {place!r}", "other links stand in an add_link of their own")


def _remove_site(fleet: Part, said: Part, complain: Complain) -> None:
    found = _find(fleet, "sites", said, "site", complain)
    site = said.get("site")
    _without(fleet, "sites", found)
    _without(fleet, "links", _links_of(fleet, site))
    _without(fleet, "deployments", [each for each in fleet.items("deployments") if each.get("site") == site])


def _move_site(fleet: Part, said: Part, complain: Complain) -> None:
    site = said.get("site")
    for found in _find(fleet, "sites", said, "site", complain):
        found.value.update(said.at("to").value)
    _without(fleet, "links", _links_of(fleet, site))
    _add(fleet, said, "links", "links")
    _check_ends(said, site, complain)


def _resize_site(fleet: Part, said: Part, complain: Complain) -> None:
    for found in _find(fleet, "sites", said, "site", complain):
        if "instances" in said.value:
            found.value["instances"] = said.at("instances")
        there = found.value.setdefault("accelerators", said.made({}))
        for name, slots in said.value.get("accelerators", said.made({})).value.items():
            there.value.setdefault(name, slots.made({})).value.update(slots.value)


def _add_zone(fleet: Part, said: Part, complain: Complain) -> None:
    fleet.items("zones").append(said.at("zone"))
    _add(fleet, said, "links", "links")
    _check_ends(said, said.at("zone").get("id"), complain)


def _add_link(fleet: Part, said: Part, complain: Complain) -> None:
    if named(fleet, "links", link_name(said)):
        complain((), f"there is a link {link_name(said)} already", "write change_link")
    fleet.items("links").append(said)


def _remove_link(fleet: Part, said: Part, complain: Complain) -> None:
    _without(fleet, "links", _find(fleet, "links", said, "link", complain))


def _change_link(fleet: Part, said: Part, complain: Complain) -> None:
    for link in _find(fleet, "links", said, "link", complain):
        rtt_ms, p95_ms = link.get("rtt_ms"), link.get("rtt_p95_ms")
        _set(link, said, "link")
        if "rtt_ms" in said.value and "rtt_p95_ms" not in said.value and rtt_ms and p95_ms and said.get("rtt_ms") > 0:
            scaled = round(p95_ms * said.get("rtt_ms") / rtt_ms, 3)
            link.value["rtt_p95_ms"] = said.at("rtt_ms").made(scaled)


def _set(part: Part, said: Part, name: str) -> None:
    part.value.update({key: value for key, value in said.value.items() if key != name})


def _add_deployment(fleet: Part, said: Part, complain: Complain) -> None:
    fleet.items("deployments").append(said)


def _remove_deployment(fleet: Part, said: Part, complain: Complain) -> None:
    _without(fleet, "deployments", _find(fleet, "deployments", said, "deployment", complain))


def _change_deployment(fleet: Part, said: Part, complain: Complain) -> None:
    for found in _find(fleet, "deployments", said, "deployment", complain):
        _set(found, said, "deployment")


def _change_price(fleet: Part, said: Part, complain: Complain) -> None:
    if "link" in said.value:
        for link in _find(fleet, "links", said, "link", complain):
            for key in ("egress_usd_per_gb", "egress_back_usd_per_gb"):
                _price(link, said, key)
        return
    key = next(key for key in ("site", "operator", "tier") if key in said.value)
    sites = [site for site in fleet.items("sites") if site.get("id" if key == "site" else key) == said.get(key)]
    if not sites:
        known = [str(site.get("id" if key == "site" else key)) for site in fleet.items("sites")]
        complain((key,), f"no site has the {key} {said.get(key)!r}", did_you_mean(said.get(key), known))
    only = said.get("accelerator")
    changed = 0
    for site in sites:
        for name, accelerator in site.value.get("accelerators", site.made({})).value.items():
            if only in (None, name):
                _price(accelerator, said, "usd_per_hour")
                changed += 1
    if sites and not changed:
        complain(("accelerator",), f"none of these sites has {only!r}", "name one of theirs, or none for all")


def _price(part: Part, said: Part, key: str) -> None:
    if key in said.value:
        part.value[key] = said.at(key)
    elif "scale" in said.value and isinstance(part.get(key), int | float):
        part.value[key] = said.at("scale").made(round(part.get(key) * said.get("scale"), 12))


def _change_model(fleet: Part, said: Part, complain: Complain) -> None:
    for model in _find(fleet, "models", said, "model", complain):
        gone = said.get("remove") or []
        variants = model.items("variants")
        for index, name in enumerate(gone):
            if name not in [variant.get("id") for variant in variants]:
                known = [str(variant.get("id")) for variant in variants]
                complain(("remove", index), f"{name!r} is no variant of it", did_you_mean(name, known))
        variants[:] = [variant for variant in variants if variant.get("id") not in gone]
        _without(fleet, "deployments", [each for each in fleet.items("deployments") if each.get("variant") in gone])
        _add(model, said, "variants", "add")
        if "response_bytes" in said.value:
            model.value["response_bytes"] = said.at("response_bytes")


_BY_KIND: dict[str, Callable[[Part, Part, Complain], None]] = {
    "add_site": _add_site,
    "remove_site": _remove_site,
    "move_site": _move_site,
    "resize_site": _resize_site,
    "add_zone": _add_zone,
    "add_link": _add_link,
    "remove_link": _remove_link,
    "change_link": _change_link,
    "add_deployment": _add_deployment,
    "remove_deployment": _remove_deployment,
    "change_deployment": _change_deployment,
    "change_price": _change_price,
    "change_model": _change_model,
}
FLEET_KINDS = frozenset(_BY_KIND)
"""Kinds of changes that are carried out on the fleet's document."""
assert changes.Change.model_fields.keys() >= FLEET_KINDS
