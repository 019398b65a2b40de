"""Reading policy files: a tenant's file and the bases that it extends, checked and made one. Nothing is loaded in part."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .claims_schema import claim_faults
from .documents import Document, Location, examine, read_document
from .extending import looser_parts, merged, too_much
from .faults import BadInput, Fault
from .fleet import Fleet
from .policy import Base, Body, Draft, Policy
from .policy_checks import check_names, check_unread

BASES_MAX = 4
"""Most bases above a tenant's file."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A base that was read: what it says with its own bases in it, and the documents to find a line in, nearest first."""

    body: Base | None
    documents: tuple[Document, ...]
    height: int = 1
    """How many bases this is, with those above it."""

    def line_of(self, at: Location) -> str:
        """Return FILE:LINE of the document that states a part, the nearest one first."""
        for cut in range(len(at), 0, -1):
            for document in self.documents:
                if at[:cut] in document.lines:
                    return f"{document.file}:{document.lines[at[:cut]]}"
        return self.documents[0].file if self.documents else ""


class _Reader:
    """Reads files of one folder; each base once. All faults gather in `faults`.

    `instead` holds documents that are taken in place of what stands at a path.
    """

    def __init__(self, fleet: Fleet, instead: Mapping[Path, Document] | None = None) -> None:
        self.fleet = fleet
        self.instead = instead or {}
        self.faults: list[Fault] = []
        self._bases: dict[str, _Read] = {}

    def policy(self, path: Path, *, named: bool = False) -> Policy | None:
        """Return a tenant's policy, or None when it, or a base of it, has a fault. `named` asks for TENANT.yaml."""
        document = self._document(path)
        if document is None:
            return None
        own: Policy | Draft | None
        if isinstance(document.value, dict) and "extends" in document.value:
            own, faults = examine(document, Draft)
        else:
            own, faults = examine(document, Policy)
        policy = own if isinstance(own, Policy) else None
        if own is not None:
            _add(faults, *check_names(document, own, self.fleet))
            if named and own.tenant != path.stem:
                message = f"{own.tenant!r} is not the file's name {path.stem!r}"
                remedy = "rename one: a tenant has one file, called after it"
                _add(faults, document.fault(("tenant",), message, remedy))
        if isinstance(own, Draft):
            above = self._above(document, own, (), faults)
            if above is not None and above.body is not None and not (faults or own.classes or above.body.classes):
                faults.append(document.fault(("classes",), "neither this file nor its base has a class", "add one"))
            parts = self._one(document, own, above, faults)
            policy = None if parts is None else Policy(**parts, tenant=own.tenant)
        if policy is not None and own is not None:
            _add(faults, *self._claims(document, own, policy))
        self.faults += faults
        return None if faults else policy

    def base(self, path: Path, below: tuple[str, ...] = ()) -> _Read:
        """Return a base with its own bases in it; without a body when one of them has a fault."""
        name = os.path.realpath(path)
        if name not in self._bases:
            self._bases[name] = _Read(None, ())
            self._bases[name] = self._base(path, (*below, name))
        return self._bases[name]

    def _base(self, path: Path, below: tuple[str, ...]) -> _Read:
        document = self._document(path)
        if document is None:
            return _Read(None, ())
        body, faults = examine(document, Base)
        if body is None:
            self.faults += faults
            return _Read(None, (document,))
        _add(faults, *check_names(document, body, self.fleet))
        if body.extends is None:
            faults += self._claims(document, body, body)
            self.faults += faults
            return _Read(None if faults else body, (document,))
        above = self._above(document, body, below, faults)
        parts = self._one(document, body, above, faults)
        one = None if parts is None else Base(**parts)
        faults += self._claims(document, body, one) if one is not None else []
        self.faults += faults
        documents = (document, *(above.documents if above is not None else ()))
        height = 1 + (above.height if above is not None else 0)
        return _Read(None if faults else one, documents, height)

    def _above(self, document: Document, own: Body, below: tuple[str, ...], faults: list[Fault]) -> _Read | None:
        """Return the base that a file names; None where the name itself is at fault."""
        named = str(own.extends)
        path = Path(os.path.normpath(Path(document.file).parent / named))
        at = ("extends",)
        if Path(named).is_absolute() or not named.endswith(".yaml"):
            problem, remedy = f"{named!r} is no base", "name a .yaml file relative to this one: base/company.yaml"
        elif not path.is_file():
            problem, remedy = f"no file is at {path}", "name a base relative to this file: base/company.yaml"
        elif os.path.realpath(path) in (*below, os.path.realpath(document.file)):
            problem, remedy = f"{named!r} leads back to this file: a circle", "remove one step"
        elif len(below) > 2 * BASES_MAX or (above := self.base(path, below)).height + bool(below) > BASES_MAX:
            problem, remedy = f"more than {BASES_MAX} bases stand above each other", "remove a step"
        else:
            return above
        faults.append(document.fault(at, problem, remedy))
        return None

    def _one(self, document: Document, own: Body, above: _Read | None, faults: list[Fault]) -> dict[str, Any] | None:
        """Return a file and its base as one; None where the base cannot be used. Loosenings become faults."""
        if above is None or above.body is None:
            return None
        for at, said in looser_parts(above.body, own, self.fleet):
            message = f"is looser than its base, {above.line_of(at)}: {said}"
            _add(faults, document.fault(at, message, "a file may only tighten its base"))
        faults.extend(document.fault(at, said, "remove some") for at, said in too_much(above.body, own))
        return None if faults else merged(above.body, own, self.fleet)

    def _claims(self, document: Document, own: Body, whole: Body) -> list[Fault]:
        """Return the faults of a file's own claims, which speak of the classes and models of the whole policy."""
        models = self.fleet.model_by_id if whole.models is None else whole.models
        return list(claim_faults(document, own.claims, whole.classes, models, self.fleet))

    def _document(self, path: Path) -> Document | None:
        if path in self.instead:
            return self.instead[path]
        try:
            return read_document(path)
        except BadInput as error:
            self.faults += error.faults
            return None


def _add(faults: list[Fault], *more: Fault) -> None:
    """Add faults of meaning, but for those of what is already at fault: it was replaced so that the rest could be read."""
    wrong = [fault.field for fault in faults]
    faults += [new for new in more if not any(_touch(new.field, field) for field in wrong)]


def _touch(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return long == short or (long.startswith(short) and long[len(short)] in ".[")


def load_policy(path: Path | str, fleet: Fleet) -> Policy:
    """Read one policy with its bases and check it against the fleet. Raises BadInput with every fault at once."""
    reader = _Reader(fleet)
    policy = reader.policy(Path(path))
    if policy is None or reader.faults:
        raise BadInput(reader.faults)
    return policy


def load_policies(
    folder: Path | str, fleet: Fleet, instead: Mapping[Path, Document] | None = None
) -> dict[str, Policy]:
    """Read every `*.yaml` of a folder that is no `*.cases.yaml`, and the bases in its folder `base`.

    `instead` holds documents for `folder / TENANT.yaml` that are taken in place of these files, or beside them. Raises
    BadInput with the faults of all files; those of a base come once, however many extend it.
    """
    folder = Path(folder)
    reader = _Reader(fleet, instead)
    found = {path for path in folder.glob("*.yaml") if not path.name.endswith(".cases.yaml")}
    paths = sorted(found.union(instead or ()))
    reader.faults += check_unread(folder, {path.stem for path in paths})
    if not paths:
        raise BadInput([Fault(str(folder), 0, "", "holds no policy files", "add TENANT.yaml")])
    for path in sorted((folder / "base").glob("*.yaml")):
        reader.base(path)
    policies = _read_all(reader, paths)
    if reader.faults:
        raise BadInput(reader.faults)
    return policies


def load_shadows(folder: Path | str, fleet: Fleet) -> dict[str, Policy]:
    """Read every `shadow/TENANT.yaml` of a folder: versions that decide beside the live ones. Empty where there are none.

    Raises BadInput with the faults of all of them.
    """
    reader = _Reader(fleet)
    policies = _read_all(reader, sorted((Path(folder) / "shadow").glob("*.yaml")))
    if reader.faults:
        raise BadInput(reader.faults)
    return policies


def form_faults(folder: Path | str) -> list[Fault]:
    """Return the faults of form in a folder's files, for when there is no fleet to hold their names against."""
    folder = Path(folder)
    faults: list[Fault] = []
    for inside, form in ((folder, Policy), (folder / "shadow", Policy), (folder / "base", Base)):
        for path in sorted(path for path in inside.glob("*.yaml") if not path.name.endswith(".cases.yaml")):
            try:
                document = read_document(path)
            except BadInput as error:
                faults += error.faults
                continue
            extends = form is Policy and isinstance(document.value, dict) and "extends" in document.value
            faults += examine(document, Draft if extends else form)[1]
    return faults


def _read_all(reader: _Reader, paths: list[Path]) -> dict[str, Policy]:
    policies: dict[str, Policy] = {}
    for path in paths:
        policy = reader.policy(path, named=True)
        if policy is not None:
            policies[policy.tenant] = policy
    return policies
