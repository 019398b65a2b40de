"""From a scenario file to the worlds that its runs happen in. All files are checked before anything runs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from infercast.policies.documents import Document, Location, examine, read_document
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import fleet_of
from infercast.policies.policy import Policy
from infercast.policies.policy_file import form_faults

from .edited import Edited, part_of
from .fleet_changes import change_fleet, rebase_cards
from .happenings import Happenings, happenings_of
from .model import World
from .policy_changes import changed_policies
from .scenario_file import Layer, changes_said, path_of, read_layers, stated
from .settings import Setting, put
from .traffic import Scale, TrafficChange
from .workload import calls_of
from .workload_changes import change_workload, rebase_traces, traffic_of
from .workload_file import Workload
from .workload_names import faults_of

T = TypeVar("T")
ELSEWHERE = ("fleet", "policies", "workload", "traffic")
"""First steps of settings that are not fields of the scenario itself."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario, checked: what its worlds are made of. Plain values, which travel to other processes."""

    path: str
    description: str
    changes: tuple[str, ...]
    """What it and its bases change, a line each, for people."""
    fleet: Fleet
    policies: Mapping[str, Policy]
    workload: Workload
    workload_folder: Path
    """What paths of traces are relative to."""
    traffic: tuple[TrafficChange, ...]
    happenings: Happenings
    seed: int
    starts_at_s: int
    replications: int
    estimates: Literal["learned", "declared"]
    jitter: bool
    exchange_us: int
    bins: int

    def world(self, replication: int = 0) -> World:
        """Return the world of a replication, with its calls. Raises BadInput where a trace cannot be read."""
        seed, starts_at_s, folder = self.seed + replication, self.starts_at_s, self.workload_folder
        return World(
            fleet=self.fleet,
            policies=self.policies,
            calls=calls_of(self.workload, self.fleet, self.policies, seed, folder, self.traffic, starts_at_s),
            starts_at_s=starts_at_s,
            disturbances=self.happenings.disturbances,
            scaling=self.happenings.scaling,
            truth=self.happenings.truth,
            batch_marginal=self.happenings.batch_marginal,
            watts=self.happenings.watts,
            estimates=self.estimates,
            jitter=self.jitter,
            exchange_us=self.exchange_us,
            bins=self.bins,
        )


def load_scenario(path: Path | str, settings: tuple[Setting, ...] = ()) -> Scenario:
    """Read and check a scenario with all files that it names. Raises BadInput with every fault at once.

    `settings` put values into its files first: into the changed fleet, policies and workload by their roots `fleet`,
    `policies` and `workload`; `traffic.scale` scales all calls; other roots are fields of the scenario's own file.
    """
    path = Path(path)
    layers = read_layers(path, tuple(each for each in settings if each.root not in ELSEWHERE))
    faults: list[Fault] = []
    by_root = {root: tuple(each.below() for each in settings if each.root == root) for root in ELSEWHERE}
    fleet = _fleet(layers, by_root["fleet"], faults)
    document, at, folder, workload = _workload(layers, by_root["workload"], faults)
    if fleet is None:
        raise BadInput([*faults, *form_faults(path_of(layers, "policies"))])
    policies = changed_policies(layers, fleet, path_of(layers, "policies"), by_root["policies"], faults)
    happenings = happenings_of(layers, fleet, faults)
    traffic: tuple[TrafficChange, ...] = ()
    if policies is not None and workload is not None:
        faults += faults_of(workload, fleet, policies, document, at)
        names = [source.name for source in workload.sources]
        traffic = traffic_of(layers, fleet, policies, names, faults)
    traffic += _scales(by_root["traffic"], faults)
    if faults or policies is None or workload is None:
        raise BadInput(faults)
    return Scenario(
        path=str(path),
        description=layers[-1].says.description,
        changes=tuple(changes_said(layers)),
        fleet=fleet,
        policies=policies,
        workload=workload,
        workload_folder=folder,
        traffic=traffic,
        happenings=happenings,
        seed=_said(layers, "seed", 1),
        starts_at_s=_said(layers, "starts_at", 0),
        replications=_said(layers, "replications", 1),
        estimates=_said(layers, "estimates", "learned"),
        jitter=_said(layers, "jitter", True),
        exchange_us=_said(layers, "exchange", 250_000),
        bins=_said(layers, "bins", 240),
    )


def _said(layers: list[Layer], key: str, default: T) -> T:
    layer = stated(layers, key)
    value: T = default if layer is None else getattr(layer.says, key)
    return value


def _complain(layer: Layer, index: int, faults: list[Fault], at: Location, message: str, remedy: str) -> None:
    faults.append(layer.document.fault(("changes", index, *at), message, remedy))


def _read(layer: Layer | None, key: str, path: Path, faults: list[Fault]) -> Document | None:
    """Return a document that a scenario names; where it cannot be read, say so where it is named."""
    try:
        return read_document(path)
    except BadInput as error:
        for fault in error.faults:
            at_fault = layer.document.fault((key,), f"{path} {fault.message}", fault.remedy) if layer else fault
            faults.append(at_fault)
        return None


def _fleet(layers: list[Layer], settings: tuple[Setting, ...], faults: list[Fault]) -> Fleet | None:
    path = path_of(layers, "fleet")
    document = _read(stated(layers, "fleet"), "fleet", path, faults)
    if document is None:
        return None
    fleet, wrong = part_of(document), len(faults)
    if isinstance(fleet.value, dict):
        for layer in layers:
            for index, change in enumerate(layer.says.changes):
                said = layer.part.at("changes", index)
                rebase_cards(said, layer.folder, path.parent)
                change_fleet(fleet, change, said, partial(_complain, layer, index, faults))
        put(fleet, settings, faults)
    if len(faults) > wrong:
        return None
    try:
        return fleet_of(Edited(fleet, document.faults), path.parent)
    except BadInput as error:
        faults += error.faults
        return None


def _workload(
    layers: list[Layer], settings: tuple[Setting, ...], faults: list[Fault]
) -> tuple[Document, Location, Path, Workload | None]:
    """Return the document that holds the workload, where in it, what its paths are relative to, and what it says."""
    layer = stated(layers, "workload")
    if layer is None:
        raise LookupError("the workload was found missing before")
    named, folder = layer.part.get("workload"), layer.folder
    at: Location = ("workload",)
    part, syntax = layer.part.at("workload"), layer.document.faults
    if isinstance(named, str):
        path = Path(os.path.normpath(layer.folder / named))
        read = _read(layer, "workload", path, faults)
        if read is None:
            return layer.document, at, folder, None
        part, syntax, at, folder = part_of(read), read.faults, (), path.parent
    if isinstance(part.value, dict):
        for other in layers:
            for index, change in enumerate(other.says.changes):
                said = other.part.at("changes", index)
                rebase_traces(said, other.folder, folder)
                change_workload(part, change, said, partial(_complain, other, index, faults))
        put(part, settings, faults)
    bare = Edited(part, syntax)
    workload, own = examine(bare, Workload)
    faults += own
    duration_us = _said(layers, "duration", None)
    if workload is not None and duration_us is not None:
        workload = workload.model_copy(update={"duration": duration_us})
    return bare, (), folder, None if own else workload


def _scales(settings: tuple[Setting, ...], faults: list[Fault]) -> tuple[TrafficChange, ...]:
    found: list[TrafficChange] = []
    for setting in settings:
        if setting.steps != ("scale",):
            said = ".".join(setting.steps)
            faults.append(setting.fault(f"traffic holds no {said!r}", did_you_mean(said, ["scale"])))
            continue
        if isinstance(setting.value, bool) or not isinstance(setting.value, int | float):
            faults.append(setting.fault("says not how many times the calls", "traffic.scale=0.5,1,2"))
            continue
        try:
            found.append(Scale(float(setting.value)))
        except ValueError as error:
            faults.append(setting.fault(str(error), "traffic.scale=0.5,1,2"))
    return tuple(found)
