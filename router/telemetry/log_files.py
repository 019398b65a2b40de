"""The files of the decision log, and one of them open for writing.

- `FOLDER/PLACE-PID-START.jsonl`: one file per place and process; START in milliseconds since 1970
- `FOLDER/objects/DIGEST.json`: fleets and policies
- `FOLDER/public.pem`: the key that the signatures hold with
- `FOLDER/heads.json`: how far each file had come, signed
"""

import fcntl
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from errno import ENOSPC
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Final

import orjson

from infercast.policies.faults import BadInput, Fault

from .chain import CHECKPOINT, ERASABLE, OPEN, VERSION, first_prev, new_line, new_salts
from .checkpoints import SigningKey, checkpoint_message, load_public
from .heads import HEADS, Head, locked, update_heads, write_whole

PUBLIC, OBJECTS, SUFFIX, TURN = "public.pem", "objects", ".jsonl", ".turn"
KEY = "signing.key"
"""The private key's name in the state folder, beside the log and not in it."""
DAY_S: Final = 86_400
KEEP_DAYS_DEFAULT: Final = 30
"""Days that a decision record is kept where its tenant's policy says nothing of it."""
CHECKPOINT_EVERY = 256
BARE_LINES = 2
"""A file with no more lines than this holds no record: its writer died before it said that the file is there."""
_NAME = re.compile(r"(?P<place>[A-Za-z0-9][A-Za-z0-9._~-]{0,100})-(?P<pid>\d{1,10})-(?P<start>\d{1,16})\.jsonl")


@dataclass(frozen=True, slots=True)
class Entry:
    """What becomes a line: its body is JSON as orjson writes it."""

    kind: str
    at_s: int
    body: bytes
    keep_until_s: int | None = None


def place_of(name: str) -> str | None:
    """Return the place that a file's name says, None for a name that no file of the log has."""
    found = _NAME.fullmatch(name)
    return found["place"] if found else None


def log_files(folder: Path) -> list[Path]:
    """Return the log's files, by place and start. Raises BadInput where there is no such folder."""
    try:
        paths = [path for path in folder.iterdir() if path.name.endswith(SUFFIX) and not path.name.startswith(".")]
    except OSError as error:
        fault = Fault(str(folder), 0, "", f"no decision log is here: {error.strerror}", "name its folder with --log")
        raise BadInput([fault]) from error
    return sorted(paths, key=by_start)


def by_start(path: Path) -> tuple[int, str]:
    """Sort files by when they were begun."""
    found = _NAME.fullmatch(path.name)
    return int(found["start"]) if found else 0, path.name


def prepare(folder: Path, key: SigningKey) -> None:
    """Make a log's folder and its public key. Raises BadInput where the log is signed with another key."""
    (folder / OBJECTS).mkdir(parents=True, exist_ok=True)
    public = folder / PUBLIC
    with locked(folder):
        if not public.exists():
            write_whole(public, key.public.pem.encode(), 0o644)
    if load_public(public) != key.public:
        remedy = "put the log's own private key back, or move the folder away"
        raise BadInput([Fault(str(public), 0, "", "this log is signed with another key", remedy)])


class LogFile:
    """A file that one process appends to; locked as long as it is open, so that nobody prunes it."""

    def __init__(self, folder: Path, place: str, key: SigningKey, at_s: int, start_ms: int) -> None:
        """Make the file, with its first checkpoint, and put it on the list. Raises OSError, BadInput."""
        name = f"{place}-{os.getpid()}-{start_ms}{SUFFIX}"
        if place_of(name) != place:
            remedy = "letters, digits, `.`, `_`, `~` and `-`"
            raise BadInput([Fault(str(folder), 0, "place", f"{place!r} cannot name a file", remedy)])
        self._folder, self._place, self._key = folder, place, key
        self._name = name
        self.size_bytes = 0
        self._seq, self._prev, self._since_checkpoint = 0, first_prev(name), 0
        self._torn = False
        with locked(folder):
            others = not (folder / HEADS).exists() and any(
                path.name != name and not is_bare(path) for path in log_files(folder)
            )
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
            self._file = os.open(folder / name, flags, 0o600)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)  # a verifier holds it for an instant at most
                about = {"version": VERSION, "place": place, "pid": os.getpid(), "start_ms": start_ms,
                         "key": key.public.fingerprint}  # fmt: skip
                self.append([Entry(OPEN, at_s, orjson.dumps(about))], at_s, checkpoint=True)
                update_heads(folder, key, {name: self.head()}, at_s, others)
                self._told_seq = self._seq
            except BaseException:
                os.close(self._file)
                raise

    @property
    def name(self) -> str:
        """The file's name."""
        return self._name

    @property
    def unsigned(self) -> int:
        """How many lines stand after the last checkpoint."""
        return self._since_checkpoint

    @property
    def untold(self) -> bool:
        """Whether lines were written since the list was last told how far the file has come."""
        return self._seq != self._told_seq

    def head(self, end: bool = False) -> Head:
        """How far the file has come."""
        return Head(self._seq - 1, self._prev, end)

    def append(self, entries: Iterable[Entry], at_s: int, checkpoint: bool = False, end: bool = False) -> None:
        """Write entries, a checkpoint after every 256, and one last if asked: one write, whole or not at all.

        Raises OSError where the disk takes no more; the file is then as it was before.
        """
        seq, prev, since = self._seq, self._prev, self._since_checkpoint
        lines: list[bytes] = []
        entries = list(entries)
        for entry, salt in zip(entries, new_salts(len(entries)), strict=True):
            given = salt if entry.kind in ERASABLE else None
            line, prev = new_line(prev, seq, entry.kind, entry.at_s, entry.keep_until_s, entry.body, given)
            lines.append(line)
            seq, since = seq + 1, since + 1
            if since >= CHECKPOINT_EVERY:
                line, prev = checkpoint_line(self._key, self._name, self._place, seq, prev, at_s, end=False)
                lines.append(line)
                seq, since = seq + 1, 0
        if checkpoint and (since or end):
            line, prev = checkpoint_line(self._key, self._name, self._place, seq, prev, at_s, end)
            lines.append(line)
            seq, since = seq + 1, 0
        self._write(b"".join(lines))
        self._seq, self._prev, self._since_checkpoint = seq, prev, since

    def _write(self, content: bytes) -> None:
        if self._torn:
            os.ftruncate(self._file, self.size_bytes)
            self._torn = False
        self._torn = True
        written = os.write(self._file, content)
        if written != len(content):
            os.ftruncate(self._file, self.size_bytes)
            self._torn = False
            raise OSError(ENOSPC, "the disk took only a part of the lines", self._name)
        self.size_bytes += written
        self._torn = False

    def tell_head(self, at_s: int, end: bool = False) -> None:
        """Bring the lines to the disk and put how far the file has come on the list. Raises OSError."""
        os.fsync(self._file)
        with locked(self._folder):
            update_heads(self._folder, self._key, {self._name: self.head(end)}, at_s)
        self._told_seq = self._seq

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)


def checkpoint_line(
    key: SigningKey, file: str, place: str, seq: int, prev: str, at_s: int, end: bool
) -> tuple[bytes, str]:
    """Return a signed checkpoint, and the head after it."""
    signature = key.sign(checkpoint_message(file, place, seq, prev, at_s, end))
    return new_line(prev, seq, CHECKPOINT, at_s, None, orjson.dumps({"end": end, "signature": signature}))


def ask_to_turn(folder: Path) -> None:
    """Ask whoever writes a log to end the present files and go on in others; takes them 10 s at most."""
    (folder / TURN).touch(0o600)
    os.utime(folder / TURN)


def asked_to_turn_s(folder: Path) -> float:
    """Return when writers were last asked to end their files, s since 1970; 0 for never."""
    try:
        return (folder / TURN).stat().st_mtime
    except OSError:
        return 0.0


def is_bare(path: Path) -> bool:
    """Return whether a file holds no record yet: no more than its opening and one checkpoint."""
    try:
        with path.open("rb") as file:
            return len(list(islice(iter(partial(file.readline, 10_000), b""), BARE_LINES + 1))) <= BARE_LINES
    except OSError:
        return False
