"""The decision log's writer: a call pays for one append to a queue; a thread writes, chains and signs behind it.

Nothing is lost in silence. Where the disk cannot follow, calls go on, and a `gap` line counts what is missing. Decisions
that a policy lets nobody log are counted in `withheld` lines.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from .chain import DECISION, GAP, LINE_BYTES_MAX, OBJECT, SNAPSHOT, WITHHELD
from .checkpoints import SigningKey
from .log_files import DAY_S, KEEP_DAYS_DEFAULT, Entry, LogFile, asked_to_turn_s, prepare
from .objects import put_object

Record = dict[str, Any]
BEAT_S = 0.1
HEAD_EVERY_S = 10
FILE_BYTES_MAX = 64 * 2**20
FILE_AGE_MAX_S = DAY_S
"""A file is ended after a day: only an ended file can be pruned."""
STARTS_TRIED = 1000
QUEUE_MAX = 65_536
BATCH_MAX = 2048
EPOCHS_KEPT = 64
"""Snapshots wait for a decision that names them; so many of the newest do."""
BODY_BYTES_MAX = LINE_BYTES_MAX - 1024
KEEP_DEFAULT_S = KEEP_DAYS_DEFAULT * DAY_S
FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a record's maker may fail with: that record is counted as lost, the log goes on."""


class DecisionLog:
    """The log of one place, written by this process.

    Raises BadInput where the folder's log is signed with another key, OSError where it cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        place: str,
        key: SigningKey,
        *,
        clock: Callable[[], float] = time.time,
        queue_max: int = QUEUE_MAX,
        file_bytes_max: int = FILE_BYTES_MAX,
    ) -> None:
        self._folder, self._place, self._key, self._clock = folder, place, key, clock
        self._queue_max, self._file_bytes_max = queue_max, file_bytes_max
        self._queue: deque[tuple[int, Callable[[], Record] | Record, int | None]] = deque()
        self._append, self._room = self._queue.append, self._queue.__len__
        self._guard = threading.Lock()
        self._lost: dict[str, int] = {}
        self._withheld = 0
        self._states: OrderedDict[int, Callable[[], Record]] = OrderedDict()
        self._objects: dict[str, str] = {}
        self._told: set[int | str] = set()
        self._pending: list[Entry] = []
        self._asked = False
        self._failed: OSError | None = None
        prepare(folder, key)
        self._file = self._begin()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self._thread.start()

    def decision(self, at_s: int, record_of: Callable[[], Record] | Record, keep_until_s: int | None) -> None:
        """Log a decision made at `at_s` (s since 1970 UTC). Never waits; costs less than a microsecond.

        `record_of` is called later in another thread, or is the record. None for `keep_until_s`: 30 days.
        """
        if self._room() < self._queue_max:
            self._append((at_s, record_of, keep_until_s))
        else:
            self._lose("queue", 1)

    def snapshot(self, epoch: int, state_of: Callable[[], Record]) -> None:
        """Tell of an epoch's snapshot; written once, before the first decision that names the epoch.

        `state_of` is called in another thread, perhaps more than once: what it reads must not change any more.
        """
        with self._guard:
            self._states[epoch] = state_of
            while len(self._states) > EPOCHS_KEPT:
                self._states.popitem(last=False)

    def put(self, digest: str, document: Record) -> None:
        """Write a fleet or policy once, now. Raises BadInput where another stands under its digest, OSError."""
        hashed = put_object(self._folder, digest, document)
        with self._guard:
            self._objects[digest] = hashed

    def withhold(self) -> None:
        """Count a decision that its policy lets nobody log here."""
        with self._guard:
            self._withheld += 1

    def check(self) -> None:
        """Raise RuntimeError where its thread has ended by itself, by a fault that nobody foresaw: decisions are lost then."""
        if not self._thread.is_alive() and not self._stop.is_set():
            raise RuntimeError("the decision log is written no longer")

    def close(self) -> None:
        """Write what is left, end and sign the file. Raises OSError where that could not be done."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._thread.join()
        if self._failed:
            raise self._failed

    def _lose(self, why: str, count: int) -> None:
        with self._guard:
            if count:
                self._lost[why] = self._lost.get(why, 0) + count

    def _run(self) -> None:
        while not self._stop.wait(BEAT_S):
            with suppress(OSError):  # tried again at the next beat; meanwhile the queue fills and counts what it loses
                self._beat()
        try:
            try:
                self._drain()
            finally:
                self._lose("close", len(self._queue))  # what came after the end, or what a full disk kept out
                self._end(self._file)
        except OSError as error:
            self._failed = error

    def _begin(self) -> LogFile:
        now = self._clock()
        for start_ms in range(int(now * 1000), int(now * 1000) + STARTS_TRIED):
            with suppress(FileExistsError):
                file = LogFile(self._folder, self._place, self._key, int(now), start_ms)
                self._begun_s, self._head_s = now, int(now)
                return file
        raise FileExistsError(f"{self._folder}: no name is free for a new file of {self._place}")

    def _beat(self) -> None:
        self._drain()
        now_s = int(self._clock())
        if abs(now_s - self._head_s) >= HEAD_EVERY_S:
            self._head_s = now_s
            self._count_withheld(now_s)
            if self._pending or self._file.unsigned or self._file.untold:
                self._flush(checkpoint=True)
                self._file.tell_head(now_s)
            self._asked = asked_to_turn_s(self._folder) > self._begun_s
        if self._asked or self._file.size_bytes >= self._file_bytes_max or abs(now_s - self._begun_s) >= FILE_AGE_MAX_S:
            old, self._file = self._file, self._begin()
            self._asked = False
            self._told.clear()
            self._end(old)

    def _end(self, file: LogFile) -> None:
        now_s = int(self._clock())
        try:
            self._count_lost(now_s)
            self._count_withheld(now_s)
            self._pending, last = [], self._pending
            file.append(last, now_s, checkpoint=True, end=True)
            file.tell_head(now_s, end=True)
        finally:
            file.close()

    def _drain(self) -> None:
        """Write what is in the queue now: what comes in meanwhile is the next beat's."""
        left = len(self._queue)
        while True:
            if not self._pending:
                left -= self._gather(min(left, BATCH_MAX))
            if not self._pending:
                return
            self._flush()
            if left <= 0:
                return

    def _flush(self, checkpoint: bool = False) -> None:
        self._file.append(self._pending, int(self._clock()), checkpoint)
        self._pending = []

    def _gather(self, items: int) -> int:
        """Make the next batch ready, and return how many of the queue it took."""
        now_s = int(self._clock())
        with self._guard:
            fresh = [(digest, hashed) for digest, hashed in self._objects.items() if digest not in self._told]
        for digest, hashed in fresh:
            self._pending.append(Entry(OBJECT, now_s, orjson.dumps({"digest": digest, "sha256": hashed})))
            self._told.add(digest)
        for _ in range(items):
            self._take(*self._queue.popleft())
        self._count_lost(now_s)
        return items

    def _take(self, at_s: int, record_of: Callable[[], Record] | Record, keep_until_s: int | None) -> None:
        try:
            record = record_of() if callable(record_of) else record_of
            epoch = record.get("epoch")
            body = _body_of(record)
        except FAULTS as error:
            self._lose(type(error).__name__, 1)
            return
        if isinstance(epoch, int) and epoch not in self._told:
            self._tell_snapshot(epoch, at_s)
        until_s = at_s + KEEP_DEFAULT_S if keep_until_s is None else keep_until_s
        self._pending.append(Entry(DECISION, max(at_s, 0), body, max(until_s, 0)))

    def _tell_snapshot(self, epoch: int, at_s: int) -> None:
        with self._guard:
            state_of = self._states.get(epoch)
        try:
            if state_of is None:
                self._lose("snapshot", 1)
                self._told.add(epoch)
                return
            self._pending.append(Entry(SNAPSHOT, max(at_s, 0), _body_of({"epoch": epoch, **state_of()})))
        except FAULTS as error:
            self._lose(type(error).__name__, 1)
        self._told.add(epoch)

    def _count_lost(self, now_s: int) -> None:
        with self._guard:
            lost, self._lost = self._lost, {}
        if lost:
            self._pending.append(Entry(GAP, now_s, orjson.dumps({"lost": lost})))

    def _count_withheld(self, now_s: int) -> None:
        with self._guard:
            withheld, self._withheld = self._withheld, 0
        if withheld:
            self._pending.append(Entry(WITHHELD, now_s, orjson.dumps({"decisions": withheld})))


def _body_of(record: Record) -> bytes:
    body = orjson.dumps(record)
    if len(body) > BODY_BYTES_MAX or not body.startswith(b"{"):
        raise ValueError(f"a record is a JSON object of at most {BODY_BYTES_MAX} bytes")
    return body
