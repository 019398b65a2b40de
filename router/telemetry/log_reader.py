"""Reading a decision log: the newest decisions by filter, and one decision with all that it was made of.

Reading is not verifying: lines that cannot be read are passed over and counted. `log_verify` says what is wrong with them.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from infercast.policies.faults import BadInput, Fault

from .chain import DECISION, OBJECT, SNAPSHOT, Line, Malformed, raw_lines, read_line
from .log_files import by_start, log_files
from .objects import hash_of, object_bytes

Record = dict[str, Any]


class Found(NamedTuple):
    """A decision and what it was made of; `snapshot` is the state with its `epoch`."""

    decision: Record
    snapshot: Record
    fleet: Record
    policy: Record


@dataclass(frozen=True, slots=True)
class Row:
    """A decision in one line. `chosen` names deployments, best first: `VARIANT@SITE`."""

    at_s: int
    id: str
    tenant: str
    model: str
    classes: tuple[str, ...]
    origin: str
    entry: str
    outcome: str
    chosen: tuple[str, ...]
    keep_until_s: int | None
    file: str


@dataclass(frozen=True, slots=True)
class Filter:
    """Which decisions are asked for; None asks for nothing. `site`: entered there, or chosen there."""

    tenant: str | None = None
    site: str | None = None
    outcome: str | None = None
    since_s: int | None = None

    def takes(self, row: Row) -> bool:
        """Return whether a decision is one of those."""
        sites = (row.entry, row.chosen[0].rpartition("@")[2] if row.chosen else None)
        return (
            (self.tenant is None or row.tenant == self.tenant)
            and (self.outcome is None or row.outcome == self.outcome)
            and (self.since_s is None or row.at_s >= self.since_s)
            and (self.site is None or self.site in sites)
        )


@dataclass(slots=True)
class Listing:
    """The decisions found, newest last; how many lines could not be read, and how many records are erased."""

    rows: list[Row] = field(default_factory=list)
    unreadable: int = 0
    erased: int = 0


def newest(folder: Path, wanted: Filter, last: int) -> Listing:
    """Return the newest decisions that a filter takes, at most `last`. Raises BadInput where there is no log."""
    listing, fleets = Listing(), _Fleets(folder)
    rows = (row for row in _rows(folder, fleets, listing) if wanted.takes(row))
    placed = ((row.at_s, place, row) for place, row in enumerate(rows))  # within a second, as they were written
    listing.rows = [row for _, _, row in sorted(heapq.nlargest(last, placed))]
    return listing


def _rows(folder: Path, fleets: "_Fleets", listing: Listing) -> Iterator[Row]:
    for path in log_files(folder):
        for line in _lines(path, listing):
            if line.kind == DECISION:
                if line.body is None:
                    listing.erased += 1
                else:
                    yield _row(path.name, line, line.body, fleets)


def _lines(path: Path, listing: Listing) -> Iterator[Line]:
    try:
        for raw, _ in raw_lines(path):
            try:
                yield read_line(raw)
            except Malformed:
                listing.unreadable += 1
    except (Malformed, OSError):
        listing.unreadable += 1


def _row(file: str, line: Line, body: Record, fleets: "_Fleets") -> Row:
    request = body.get("request")
    asked: Record = request if isinstance(request, dict) else {}
    classes, chosen = asked.get("classes"), body.get("chosen")
    names = fleets.deployments(body.get("fleet"))
    return Row(
        at_s=line.at_s,
        id=_word(body.get("id")),
        tenant=_word(asked.get("tenant")),
        model=_word(asked.get("model")),
        classes=tuple(_word(name) for name in classes) if isinstance(classes, list) else (),
        origin=_word(asked.get("origin")),
        entry=_word(asked.get("entry")),
        outcome=_word(body.get("outcome")),
        chosen=tuple(_name(names, index) for index in chosen) if isinstance(chosen, list) else (),
        keep_until_s=line.keep_until_s,
        file=file,
    )


def _word(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


def _name(names: list[str], index: object) -> str:
    known = type(index) is int and 0 <= index < len(names)
    return names[index] if known and isinstance(index, int) else f"#{index}"


class _Fleets:
    """The names of deployments, by the digest of their fleet."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, list[str]] = {}

    def deployments(self, digest: object) -> list[str]:
        """Return the names in the fleet's order, none where the fleet is not there."""
        if not isinstance(digest, str):
            return []
        if digest not in self._names:
            self._names[digest] = self._read(digest)
        return self._names[digest]

    def _read(self, digest: str) -> list[str]:
        try:
            document = orjson.loads(object_bytes(self._folder, digest) or b"{}")
            return [f"{one['variant']}@{one['site']}" for one in document["deployments"]]
        except (BadInput, OSError, LookupError, TypeError, ValueError):
            return []


def find(folder: Path, decision_id: str) -> Found:
    """Return a decision by its id with its snapshot, fleet and policy; the newest where an id stands more than once.

    Raises BadInput, saying which part is missing: the decision, its snapshot (perhaps pruned), or a document.
    """
    erased = 0
    for path in sorted(log_files(folder), key=by_start, reverse=True):
        listing = Listing()
        line, here = _last_with(path, decision_id, listing)
        erased += here
        if line is not None and line.body is not None:
            return _gathered(folder, path, line.body)
    remedy = "`infercast log list` shows those that it holds"
    pruned = f"; {erased} records were pruned, it may have been one of them" if erased else ""
    raise BadInput([Fault(str(folder), 0, "decision", f"no decision {decision_id!r} is in this log{pruned}", remedy)])


def signals(folder: Path) -> Iterator[tuple[int, Record]]:
    """Yield the signals of every epoch that a log keeps, each with when it was written down, in s since 1970 UTC."""
    for path in log_files(folder):
        for line in _lines(path, Listing()):
            if line.kind == SNAPSHOT and line.body is not None:
                yield line.at_s, line.body


def every(folder: Path, listing: Listing | None = None) -> Iterator[Found | None]:
    """Yield every decision of a log with what it was made of, file by file; None for one of which a part was pruned.

    Lines that cannot be read are counted in `listing`. Raises BadInput where a document is missing or is not the one that was logged.
    """
    listing = listing or Listing()
    for path in log_files(folder):
        documents: dict[tuple[str, str], Record] = {}
        snapshots: dict[object, Record] = {}
        hashes: dict[object, object] = {}
        for line in _lines(path, listing):
            body = line.body
            if line.kind == SNAPSHOT and body is not None:
                snapshots[body.get("epoch")] = body
            elif line.kind == OBJECT and body is not None:
                hashes[body.get("digest")] = body.get("sha256")
            elif line.kind == DECISION and (body is None or body.get("epoch") not in snapshots):
                yield None
            elif line.kind == DECISION and body is not None:
                for kind in ("fleet", "policy"):
                    key = (kind, str(body.get(kind)))
                    if key not in documents:
                        documents[key] = _document(folder, path, kind, body.get(kind), hashes)
                fleet, policy = (documents[(kind, str(body.get(kind)))] for kind in ("fleet", "policy"))
                yield Found(body, snapshots[body.get("epoch")], fleet, policy)


def _last_with(path: Path, decision_id: str, listing: Listing) -> tuple[Line | None, int]:
    """Return the last decision with an id in one file, and how many decisions are erased there."""
    found, erased = None, 0
    for line in _lines(path, listing):
        if line.kind == DECISION:
            erased += line.body is None
            if line.body is not None and line.body.get("id") == decision_id and line.holds():
                found = line
    return found, erased


def _gathered(folder: Path, path: Path, decision: Record) -> Found:
    snapshot: Record | None = None
    hashes: dict[object, object] = {}
    erased = False
    for line in _lines(path, Listing()):
        if line.kind == SNAPSHOT and line.body is None:
            erased = True
        elif line.kind == SNAPSHOT and line.body is not None and line.body.get("epoch") == decision.get("epoch"):
            snapshot = line.body if line.holds() else None
        elif line.kind == OBJECT and line.body is not None:
            hashes[line.body.get("digest")] = line.body.get("sha256")
    if snapshot is None:
        pruned = " (snapshots of this file were pruned)" if erased else ""
        raise BadInput([Fault(str(path), 0, "snapshot", f"epoch {decision.get('epoch')} is not in the log{pruned}")])
    fleet, policy = (_document(folder, path, kind, decision.get(kind), hashes) for kind in ("fleet", "policy"))
    return Found(decision, snapshot, fleet, policy)


def _document(folder: Path, path: Path, kind: str, digest: object, hashes: dict[object, object]) -> Record:
    content = object_bytes(folder, digest) if isinstance(digest, str) else None
    if content is None:
        raise BadInput([Fault(str(path), 0, kind, f"the log does not hold the {kind} {digest}")])
    if hashes.get(digest) != hash_of(content):
        fault = Fault(str(path), 0, kind, f"the {kind} {digest} is not the one that was logged", "infercast log verify")
        raise BadInput([fault])
    document = orjson.loads(content)
    return document if isinstance(document, dict) else {}
