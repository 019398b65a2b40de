"""Verifying a decision log with the public key alone: what was altered, removed, added, put elsewhere or cut off."""

import fcntl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infercast.policies.faults import BadInput, Fault

from .chain import (
    CHECKPOINT,
    ERASABLE,
    GAP,
    OBJECT,
    OPEN,
    PRUNED,
    RECOVERED,
    VERSION,
    WITHHELD,
    Line,
    Malformed,
    first_prev,
    raw_lines,
    read_line,
)  # fmt: skip
from .checkpoints import PublicKey, checkpoint_message, load_public
from .heads import HEADS, Heads, read_heads
from .log_files import BARE_LINES, PUBLIC, is_bare, log_files, place_of
from .objects import hash_of, object_bytes

FINDINGS_MAX = 20
"""After so many in one file, the rest of it is not worth reading."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written. `tampered` is False for what a crash alone explains.

    `line` counts from 1; 0 where no line is meant.
    """

    file: str
    line: int
    what: str
    tampered: bool = True

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}" if self.line else f"{self.file}: {self.what}"


@dataclass(slots=True)
class FileReport:
    """What stands in one file. `end` is `ended`, `being written` or `open`."""

    file: str
    lines: int = 0
    records: int = 0
    unsigned: int = 0
    erased: int = 0
    lost: int = 0
    withheld: int = 0
    end: str = "open"


@dataclass(slots=True)
class Report:
    """What stands in a log, and what is wrong with it."""

    key: str
    files: list[FileReport] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def tampered(self) -> bool:
        """Whether anything is wrong that no crash explains."""
        return any(finding.tampered for finding in self.findings)


def verify(folder: Path, key: PublicKey | None = None, stored: Sequence[Path] = ()) -> Report:
    """Return what is wrong with a log. `key` is the one that the verifier kept; the log's own is taken without one.

    `stored` are checkpoints that were kept elsewhere. Raises BadInput where there is no log at all.
    """
    paths = log_files(folder)
    if not paths and not (folder / HEADS).exists():
        raise BadInput([Fault(str(folder), 0, "", "no decision log is here", "name its folder with --log")])
    report = Report("")
    own = _own_key(folder, report)
    if key is not None and own is not None and own != key:
        report.findings.append(Finding(PUBLIC, 0, "is another key than the one given"))
    key = key or own
    if key is None:
        return report
    report.key = key.fingerprint
    lists = _lists(folder, key, stored, report)
    _check_missing(folder, lists, report)
    seen: dict[str, str] = {}
    for path in paths:
        checked = FileCheck(path, key, lists)
        checked.run()
        report.files.append(checked.report)
        report.findings += checked.findings
        seen |= checked.objects
        if HEADS in lists and path.name not in lists[HEADS].files and checked.report.lines > BARE_LINES:
            _check_unlisted(folder, key, path.name, report)
    _check_objects(folder, seen, report)
    return report


def _own_key(folder: Path, report: Report) -> PublicKey | None:
    try:
        return load_public(folder / PUBLIC)
    except BadInput as error:
        report.findings.append(Finding(PUBLIC, 0, error.faults[0].message))
        return None


def _lists(folder: Path, key: PublicKey, stored: Sequence[Path], report: Report) -> dict[str, Heads]:
    """Return the signed lists by the name they are spoken of: the log's own, and those stored elsewhere."""
    lists: dict[str, Heads] = {}
    for name, path in [(HEADS, folder / HEADS), *((f"the checkpoint {path}", path) for path in stored)]:
        try:
            lists[name] = read_heads(path, key)
        except Malformed as error:
            report.findings.append(Finding(name, 0, str(error)))
        except OSError as error:
            if name == HEADS and isinstance(error, FileNotFoundError) and all(map(is_bare, log_files(folder))):
                continue  # the first writer of all was killed as it began
            report.findings.append(Finding(name, 0, f"cannot be read: {error.strerror}"))
    own = lists.get(HEADS)
    if own and own.anew:
        what = "was begun anew while files were there: the list before it was removed or altered, and what it named is unknown"
        report.findings.append(Finding(HEADS, 0, what))
    for name, heads in lists.items():
        if own and heads.number > own.number:
            what = f"is list {own.number}, {name} was already list {heads.number}: an older state was put back"
            report.findings.append(Finding(HEADS, 0, what))
    return lists


def _check_missing(folder: Path, lists: Mapping[str, Heads], report: Report) -> None:
    named = sorted({name for heads in lists.values() for name in heads.files})
    for name in named:
        if place_of(name) is None or not (folder / name).is_file():
            by = " and ".join(said for said, heads in lists.items() if name in heads.files)
            report.findings.append(Finding(name, 0, f"was removed: {by} names it"))


def _check_unlisted(folder: Path, key: PublicKey, name: str, report: Report) -> None:
    """A file that is not on the list may just have been begun: the list is read again."""
    try:
        if name in read_heads(folder / HEADS, key).files:
            return
    except (Malformed, OSError):
        pass
    report.findings.append(Finding(name, 0, f"was put here: {HEADS} does not name it"))


def _check_objects(folder: Path, seen: Mapping[str, str], report: Report) -> None:
    for digest, hashed in sorted(seen.items()):
        try:
            content = object_bytes(folder, digest)
        except (BadInput, OSError):
            content = None
        if content is None:
            report.findings.append(Finding(f"objects/{digest}.json", 0, "was removed"))
        elif hash_of(content) != hashed:
            report.findings.append(Finding(f"objects/{digest}.json", 0, "was altered"))


class FileCheck:
    """One file, read from its first line to its last."""

    def __init__(self, path: Path, key: PublicKey, lists: Mapping[str, Heads]) -> None:
        self.report = FileReport(path.name)
        self.findings: list[Finding] = []
        self.objects: dict[str, str] = {}
        self.erased: set[int] = set()
        self.ended = False
        self.torn = False
        self.signed_seq = -1
        self._path, self._key = path, key
        self._place = place_of(path.name) or ""
        self._heads = {name: heads.files[path.name] for name, heads in lists.items() if path.name in heads.files}
        self._allowed: set[int] = set()
        self._pruned: list[tuple[int, list[list[int]]]] = []
        self._seq, self._prev = 0, first_prev(path.name)
        self._unsure = self._was_ended = False

    def run(self) -> None:
        """Read the file; `report` and `findings` say what it holds."""
        if not self._place:
            self._find(0, "was put here: no writer gives a file such a name")
            return
        number = 0
        try:
            for raw, whole in raw_lines(self._path):
                number += 1
                if not whole:
                    self.torn = True
                    break
                self._line(number, raw)
                if len(self.findings) >= FINDINGS_MAX:
                    self._find(number, "there is more; not read any further")
                    return
        except Malformed as error:
            self._find(number + 1, f"this line {error}")
            return
        except OSError as error:
            self._find(0, f"cannot be read: {error.strerror}")
            return
        self._finish(number)

    def _find(self, line: int, what: str, tampered: bool = True) -> None:
        self.findings.append(Finding(self._path.name, line, what, tampered))

    def _line(self, number: int, raw: bytes) -> None:
        self.report.lines += 1
        try:
            line = read_line(raw)
        except Malformed as error:
            self._find(number, f"altered: this line {error}")
            self._unsure = True
            return
        if not self._unsure:
            self._linked(number, line)
        if not line.holds():
            self._find(number, f"altered: the body of record {line.seq} is not the one that was written")
        self._unsure = False
        self._seq, self._prev = line.seq + 1, line.head
        for name, head in self._heads.items():
            if head.seq == line.seq and head.chain != self._prev:
                self._find(number, f"altered: {name} saw another line {line.seq}, or others before it")
        self._kind(number, line)

    def _linked(self, number: int, line: Line) -> None:
        if line.seq > self._seq:
            self._find(number, f"removed: {_span(self._seq, line.seq - 1)} stood before this one")
        elif line.seq < self._seq:
            self._find(number, f"inserted or out of order: {self._seq} belongs here, this is {line.seq}")
        elif line.prev != self._prev:
            where = (
                "this line is from another file"
                if number == 1
                else "the line before it is not the one that was written"
            )
            self._find(number, f"altered: {where}")
        elif line.kind == OPEN and number != 1:
            self._find(number, "inserted: a file opens once")

    def _kind(self, number: int, line: Line) -> None:
        body = line.body or {}
        self.ended = False
        if line.kind in ERASABLE:
            self.report.records += 1
            if line.body is None:
                self.erased.add(line.seq)
        elif line.kind == CHECKPOINT:
            self._checkpoint(number, line, body)
        elif line.kind == OPEN:
            if (
                body.get("version") != VERSION
                or body.get("place") != self._place
                or body.get("key") != self._key.fingerprint
            ):
                self._find(number, "altered: it opens a log of another version, place or key")
        elif line.kind == OBJECT:
            digest, hashed = body.get("digest"), body.get("sha256")
            if isinstance(digest, str) and isinstance(hashed, str):
                self.objects[digest] = hashed
        elif line.kind == GAP:
            lost = body.get("lost")
            self.report.lost += sum(n for n in lost.values() if isinstance(n, int)) if isinstance(lost, dict) else 0
        elif line.kind == WITHHELD:
            count = body.get("decisions")
            self.report.withheld += count if isinstance(count, int) else 0
        elif line.kind == PRUNED:
            self._pruned.append((line.seq, ranges_of(body)))
        elif line.kind == RECOVERED:
            self._recovered(number, body)

    def _recovered(self, number: int, body: dict[str, Any]) -> None:
        torn = ", and a torn line was dropped" if body.get("torn_bytes") else ""
        what = f"its writer was killed: lines from {body.get('unsigned_from')} on were not signed before line {self._seq - 1}{torn}"
        self._find(number, what, tampered=False)

    def _checkpoint(self, number: int, line: Line, body: dict[str, Any]) -> None:
        end = body.get("end") is True
        message = checkpoint_message(self._path.name, self._place, line.seq, line.prev, line.at_s, end)
        if not self._key.holds(message, body.get("signature")):
            self._find(number, "altered: the signature of this checkpoint does not hold with the key")
            return
        self.signed_seq = line.seq
        self.ended = end
        self._was_ended = end or self._was_ended

    def _finish(self, number: int) -> None:
        report = self.report
        report.unsigned = max(0, self._seq - 1 - self.signed_seq)
        allowed = [(first, last) for seq, spans in self._pruned if seq < self.signed_seq for first, last in spans]
        bare = sorted(seq for seq in self.erased if not any(first <= seq <= last for first, last in allowed))
        if bare:
            many = f" and {len(bare) - 1} more" if len(bare) > 1 else ""
            self._find(0, f"the body of record {bare[0]}{many} was removed, and no signed line says that it was pruned")
        report.erased = len(self.erased)
        for name, head in self._heads.items():
            if head.seq >= self._seq:
                self._find(0, f"cut off after line {self._seq - 1}: {name} saw line {head.seq}")
        if self._seq == 0 and not self.findings and not self._heads:
            self._find(0, "holds no whole line: its writer was killed as it began", tampered=False)
        if self.ended and not self.torn:
            report.end = "ended"
            return
        if self._was_ended:
            self._find(number, "inserted: lines stand after the end of the file")
        report.end = "being written" if is_held(self._path) else "open"
        if self.torn and report.end == "open":
            self._find(number, "torn last line: its writer was killed as it wrote", tampered=False)
        if report.end == "open" and self._seq:
            signed = f"; {report.unsigned} lines after the last checkpoint are not signed" if report.unsigned else ""
            self._find(0, f"open or cut off after seq {self._seq - 1}{signed}", tampered=False)


def ranges_of(body: Mapping[str, Any]) -> list[list[int]]:
    """Return the records that a `pruned` line names: first and last of each run."""
    found = [span for name in ("expired", "asked", "unused") for span in body.get(name) or ()] if body else []
    return [span for span in found if isinstance(span, list) and [type(end) for end in span] == [int, int]]


def is_held(path: Path) -> bool:
    """Return whether a process is writing a file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _span(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first} to {last}"
