"""Changes of a scenario's traffic: of its sources, carried out on the document; of its calls, as `traffic` has them."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from infercast.policies.documents import Location
from infercast.policies.faults import Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy

from .changes import Change
from .changes import Traffic as TrafficForm
from .edited import Part, merge_patch
from .scenario_file import Layer
from .traffic import Scale, Shift, TrafficChange, Which

Complain = Callable[[Location, str, str], None]


def change_workload(workload: Part, change: Change, said: Part, complain: Complain) -> None:
    """Carry out a change on a workload's document, in place; nothing for changes of other things."""
    sources = workload.items("sources")
    if change.add_source is not None:
        sources.append(said.at("add_source", "source"))
    for key in ("remove_source", "change_source"):
        if getattr(change, key) is None:
            continue
        name = said.at(key).get("source")
        found = [index for index, source in enumerate(sources) if source.get("name") == name]
        if not found:
            known = [str(source.get("name")) for source in sources]
            complain((key, "source"), f"no source is called {name!r}", did_you_mean(name, known))
        for index in reversed(found):
            if key == "remove_source":
                del sources[index]
            else:
                sources[index] = merge_patch(sources[index], said.at(key, "patch"))


def rebase_traces(said: Part, folder: Path, workload_folder: Path) -> None:
    """Make the paths of traces that a change names, relative to `folder`, relative to the workload's folder."""
    for steps in (("add_source", "source"), ("change_source", "patch")):
        try:
            file = said.at(*steps, "trace", "file")
        except (KeyError, TypeError):
            continue
        if isinstance(file.value, str):
            file.value = os.path.relpath(folder / file.value, workload_folder)


def traffic_of(
    layers: Iterable[Layer], fleet: Fleet, policies: dict[str, Policy], sources: Iterable[str], faults: list[Fault]
) -> tuple[TrafficChange, ...]:
    """Return the scalings and shifts of all files of a scenario, in order. Names nobody knows become faults."""
    places = {*fleet.site_by_id, *fleet.zone_by_id}
    known = {"tenants": set(policies), "models": set(fleet.model_by_id), "origins": places, "sources": set(sources)}
    found: list[TrafficChange] = []
    for layer in layers:
        for index, change in enumerate(layer.says.changes):
            if change.traffic is None:
                continue
            at = ("changes", index, "traffic")
            for key, names in known.items():
                for number, name in enumerate(getattr(change.traffic, key) or ()):
                    if name not in names:
                        message = f"no {key.removesuffix('s')} is called {name!r}"
                        faults.append(layer.document.fault((*at, key, number), message, did_you_mean(name, names)))
            to = change.traffic.shift_to
            if to is not None and to not in places:
                message = f"no place is called {to!r}"
                faults.append(layer.document.fault((*at, "shift_to"), message, did_you_mean(to, places)))
            found.append(_traffic(change.traffic))
    return tuple(found)


def _traffic(form: TrafficForm) -> TrafficChange:
    which = Which(
        tenants=_set(form.tenants),
        models=_set(form.models),
        origins=_set(form.origins),
        sources=_set(form.sources),
        from_us=form.from_us,
        until_us=form.until_us,
        hours=form.hours,
    )
    if form.scale is not None:
        return Scale(form.scale, which)
    return Shift(form.share, str(form.shift_to), which)


def _set(names: tuple[str, ...] | None) -> frozenset[str] | None:
    return None if names is None else frozenset(names)
