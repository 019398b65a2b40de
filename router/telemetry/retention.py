"""How long records are kept, and erasing them: bodies and salts go, the chain stays, a signed line says so."""

import fcntl
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from infercast.policies.faults import BadInput, Fault

from .chain import DECISION, PRUNED, RECOVERED, SNAPSHOT, Line, Malformed, new_line, raw_lines, read_line, without_body
from .checkpoints import SigningKey, load_public
from .heads import HEADS, Head, Heads, locked, read_heads, sync_folder, update_heads
from .log_files import PUBLIC, checkpoint_line, log_files, place_of
from .log_verify import FileCheck


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was erased in one file: records that expired, records asked for, snapshots that no record needs any more.

    `skipped` says why the file was left as it was.
    """

    file: str
    expired: int = 0
    asked: int = 0
    unused: int = 0
    skipped: str = ""
    tampered: bool = False


@dataclass(slots=True)
class _Plan:
    expired: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    unused: list[int] = field(default_factory=list)

    def seqs(self) -> set[int]:
        return {*self.expired, *self.asked, *self.unused}


def prune(folder: Path, key: SigningKey, now_s: int, tenant: str | None = None) -> list[Pruned]:
    """Erase the records that have expired, and all of a tenant's if asked. Returns what became of each file.

    A file is changed whole or not at all. One that is being written is left for later, one that does not verify is
    left as it is. Raises BadInput where the log is signed with another key or its list does not hold, OSError.
    """
    if load_public(folder / PUBLIC) != key.public:
        raise BadInput([Fault(str(folder / PUBLIC), 0, "", "this log is signed with another key")])
    try:
        heads = read_heads(folder / HEADS, key.public)
    except (Malformed, OSError) as error:
        fault = Fault(str(folder / HEADS), 0, "", "does not hold", "`infercast log verify` says what is wrong")
        raise BadInput([fault]) from error
    for draft in folder.glob(".*.jsonl.draft"):
        draft.unlink(missing_ok=True)  # of a run that was killed
    return [_prune_file(path, key, heads, now_s, tenant) for path in log_files(folder)]


def _prune_file(path: Path, key: SigningKey, heads: Heads, now_s: int, tenant: str | None) -> Pruned:
    with path.open("rb") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return Pruned(path.name, skipped="being written")
        if os.fstat(held.fileno()).st_ino != path.stat().st_ino:
            return Pruned(path.name, skipped="being pruned by another")
        check = FileCheck(path, key.public, {HEADS: heads})
        check.run()
        if any(finding.tampered for finding in check.findings):
            return Pruned(path.name, skipped="does not verify", tampered=True)
        plan = _plan(path, now_s, tenant)
        if plan.seqs():
            _rewrite(path, key, plan, check, now_s)
    return Pruned(path.name, len(plan.expired), len(plan.asked), len(plan.unused))


def _lines(path: Path) -> Iterable[tuple[bytes, Line]]:
    for raw, whole in raw_lines(path):
        if whole:
            yield raw, read_line(raw)


def _plan(path: Path, now_s: int, tenant: str | None) -> _Plan:
    plan, needed, snapshots = _Plan(), set(), []
    for _, line in _lines(path):
        if line.body is None:
            continue
        if line.kind == SNAPSHOT:
            snapshots.append((line.seq, line.body.get("epoch")))
        elif line.kind == DECISION:
            request = line.body.get("request")
            whose = request.get("tenant") if isinstance(request, dict) else None
            if line.keep_until_s is not None and line.keep_until_s <= now_s:
                plan.expired.append(line.seq)
            elif tenant is not None and whose == tenant:
                plan.asked.append(line.seq)
            else:
                needed.add(repr(line.body.get("epoch")))
    plan.unused = [seq for seq, epoch in snapshots if repr(epoch) not in needed]
    return plan


def _rewrite(path: Path, key: SigningKey, plan: _Plan, check: FileCheck, now_s: int) -> None:
    """Write the file anew beside itself, then put it in its own place: a crash leaves the one or the other."""
    erased, place = plan.seqs(), place_of(path.name) or ""
    draft = path.with_name(f".{path.name}.draft")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(file, "wb") as out:
        seq, prev = 0, ""
        for raw, line in _lines(path):
            out.write(without_body(line) if line.seq in erased else raw + b"\n")
            seq, prev = line.seq + 1, line.head
        if not check.ended or check.torn:
            facts = orjson.dumps({"unsigned_from": check.signed_seq + 1, "torn": check.torn})
            added, prev = new_line(prev, seq, RECOVERED, now_s, None, facts)
            out.write(added)
            seq += 1
        spans = {"expired": _spans(plan.expired), "asked": _spans(plan.asked), "unused": _spans(plan.unused)}
        added, prev = new_line(prev, seq, PRUNED, now_s, None, orjson.dumps(spans))
        out.write(added)
        added, prev = checkpoint_line(key, path.name, place, seq + 1, prev, now_s, end=True)
        out.write(added)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
    sync_folder(path.parent)
    with locked(path.parent):
        update_heads(path.parent, key, {path.name: Head(seq + 1, prev, end=True)}, now_s)


def _spans(seqs: Iterable[int]) -> list[list[int]]:
    """Return runs of numbers as pairs of their first and last."""
    spans: list[list[int]] = []
    for seq in sorted(seqs):
        if spans and seq == spans[-1][1] + 1:
            spans[-1][1] = seq
        else:
            spans.append([seq, seq])
    return spans
