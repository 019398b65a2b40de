"""Changes of tenants' policies, carried out on their documents before the usual loader reads them."""

import os
from collections.abc import Mapping
from pathlib import Path

from infercast.policies.documents import Document, read_document
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies

from .edited import Edited, Part, merge_patch, part_of
from .scenario_file import Layer
from .settings import Setting, put


def changed_policies(
    layers: list[Layer], fleet: Fleet, folder: Path, settings: tuple[Setting, ...], faults: list[Fault]
) -> dict[str, Policy] | None:
    """Return the policies of a folder with a scenario's changes, and `settings` by tenant (`*` for all), in them.

    None where something is wrong, which is added to `faults`.
    """
    instead: dict[Path, Document] = {}
    wrong = len(faults)
    for layer in layers:
        for index, change in enumerate(layer.says.changes):
            if change.policy is None:
                continue
            path = folder / f"{change.policy.tenant}.yaml"
            document = _changed_policy(layer, index, path, instead, faults)
            if document is not None:
                instead[path] = document
    for setting in settings:
        _set_policy(folder, setting, instead, faults)
    if len(faults) > wrong:
        return None
    try:
        return load_policies(folder, fleet, instead)
    except BadInput as error:
        faults += error.faults
        return None


def _changed_policy(
    layer: Layer, index: int, path: Path, instead: Mapping[Path, Document], faults: list[Fault]
) -> Document | None:
    form, at = layer.says.changes[index].policy, ("changes", index, "policy")
    if form is None:
        return None
    if form.file is not None:
        own = Path(os.path.normpath(layer.folder / form.file))
        try:
            return read_document(own)
        except BadInput as error:
            message = f"{own} {error.faults[0].message}"
            faults.append(layer.document.fault((*at, "file"), message, error.faults[0].remedy))
            return None
    document = instead.get(path)
    if document is None:
        if not path.is_file():
            known = [each.stem for each in path.parent.glob("*.yaml") if not each.name.endswith(".cases.yaml")]
            message = f"no tenant is called {form.tenant!r}"
            faults.append(layer.document.fault((*at, "tenant"), message, did_you_mean(form.tenant, known)))
            return None
        document = read_document(path)
    patched = merge_patch(_part(document), layer.part.at(*at, "patch"))
    return Edited(patched, document.faults)


def _part(document: Document) -> Part:
    return document.part if isinstance(document, Edited) else part_of(document)


def _set_policy(folder: Path, setting: Setting, instead: dict[Path, Document], faults: list[Fault]) -> None:
    """Put a value into a tenant's policy: `TENANT.PATH`, or `*.PATH` for every tenant."""
    found = {each for each in folder.glob("*.yaml") if not each.name.endswith(".cases.yaml")} | set(instead)
    paths = [path for path in sorted(found) if setting.root in ("*", path.stem)]
    if not paths or len(setting.steps) < 2:
        known = [path.stem for path in found]
        remedy = did_you_mean(setting.root, known) if not paths else "such as policies.TENANT.objective.usd_per_error"
        faults.append(setting.fault(f"{setting.root!r} is no tenant's field", remedy))
    for path in paths:
        try:
            document = instead.get(path) or read_document(path)
        except BadInput as error:
            faults += error.faults
            continue
        part = _part(document)
        put(part, (setting.below(),), faults)
        instead[path] = Edited(part, document.faults)
