"""Many streams on one decoder: all of them take one step together, newcomers join and the finished leave between steps.

Continuous batching (Orca: Yu et al., OSDI 2022), with the prompts of newcomers read in parts (Sarathi-Serve: Agrawal et
al., OSDI 2024): a step is a part of the prompts that wait, of about PART_S, and one token of each running stream, so
that neither a long prompt nor many of them keep the others waiting. Nobody is starved: each running stream gets a token at
every step, and places are given in the order of coming.
"""

import asyncio
import contextlib
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import Kind, Trouble
from .decoder import Cache, Decoder, Floats, Pads, RunError
from .pieces import Piece
from .sampling import choose
from .stream import Making, Stream

log = logging.getLogger("infercast.language")
FAILURES_MAX = 3
"""So many steps that fail in a row, and the model is not well."""
REST_S = 10.0
"""For so long after the last of them; then it is tried again."""
PART_S = 0.05
"""Reading prompts may keep running streams waiting for about so long before each has its next token."""
PART_TOKENS_MIN, PART_TOKENS_MAX = 64, 2048
"""How many tokens of prompts that is, is learned; never fewer or more than these."""
ALIKE_TOKENS = 256
"""Rows up to this length run together; beyond, those of up to twice the length do: pads cost what tokens cost."""

_Told = tuple["weakref.ref[Stream]", Piece | Trouble]


@dataclass(slots=True, eq=False)
class _Place:
    """A stream on its way through. Its reader is held weakly: one that nobody reads any more is to be seen as gone."""

    making: Making
    reader: "weakref.ref[Stream]"
    loop: asyncio.AbstractEventLoop
    cache: Cache | None = None
    """Of the part of the prompt that was read, where that is not all of it."""
    read: int = 0


@dataclass(slots=True, eq=False)
class _Group:
    """Streams that step together, one per row of the cache."""

    cache: Cache
    places: list[_Place]


class Scheduler:
    """The thread that runs a decoder. At most `running_max` streams hold a cache, `streams_max` are there in all."""

    def __init__(self, decoder: Decoder, ends: frozenset[int], running_max: int, streams_max: int) -> None:
        self._decoder = decoder
        self._ends = ends
        self._running_max, self._streams_max = running_max, streams_max
        self._change = threading.Condition()
        self._waiting: deque[_Place] = deque()
        self._present: set[_Place] = set()
        self._closed = False
        self._thread: threading.Thread | None = None
        # The thread's own from here on.
        self._entering: deque[_Place] = deque()
        self._groups: list[_Group] = []
        self._part_tokens = 256
        self._failures = 0
        self._failed_s = 0.0
        self._told: dict[asyncio.AbstractEventLoop, list[_Told]] = {}

    @property
    def present(self) -> int:
        """How many streams there are: waiting, entering and running."""
        return len(self._present)

    @property
    def lives(self) -> bool:
        """Whether calls may be sent here: the thread is there, and its steps do not just fail and fail."""
        resting = self._failures >= FAILURES_MAX and time.monotonic() - self._failed_s < REST_S
        return not self._closed and not resting

    def start(self, makings: Sequence[Making]) -> list[Stream]:
        """Let streams in, all or none. Call on the reader's loop. Raises Trouble(SATURATED), or UNAVAILABLE behind the end."""
        with self._change:
            if self._closed:
                raise Trouble(Kind.UNAVAILABLE, "this model was taken down")
            if len(self._present) + len(makings) > self._streams_max:
                said = f"{len(self._present)} streams are on, and no more than {self._streams_max} may be"
                raise Trouble(Kind.SATURATED, said, "come back when some have ended")
            streams = [Stream(making) for making in makings]
            for making, stream in zip(makings, streams, strict=True):
                place = _Place(making, weakref.ref(stream), stream.loop)
                self._present.add(place)
                self._waiting.append(place)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="language", daemon=True)
                self._thread.start()
            self._change.notify()
        return streams

    def close(self) -> None:
        """End the thread; streams that are on get Trouble(UNAVAILABLE)."""
        with self._change:
            self._closed = True
            self._change.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        why = Trouble(Kind.FAULT, "the model's thread broke", "see the log of this replica")
        try:
            while self._admit():
                before = self._failures
                try:
                    self._step()
                except Exception as error:  # noqa: BLE001 - out of memory, mostly: those that ran end, and others come
                    self._break(error)
                if self._failures == before:
                    self._failures = 0
            why = Trouble(Kind.UNAVAILABLE, "this model was taken down")
        finally:  # however it ends, nobody waits for a thread that is not there
            with self._change:
                self._closed = True
                left, self._present = self._present, set()
            self._drop(left, why)
            self._tell()

    def _admit(self) -> bool:
        """Wait for work and take newcomers in; False when there is to be no more work."""
        with self._change:
            while not (self._closed or self._waiting or self._entering or self._groups):
                self._change.wait()
            running = len(self._entering) + sum(len(group.places) for group in self._groups)
            while self._waiting and running < self._running_max:
                self._entering.append(self._waiting.popleft())
                running += 1
            gone = [place for place in self._waiting if place.making.over]
            if gone:
                self._waiting = deque(place for place in self._waiting if not place.making.over)
                self._present.difference_update(gone)
            return not self._closed

    def _step(self) -> None:
        joined = self._enter()
        self._tell()  # a first token does not wait for everybody's next
        for group in self._groups:
            try:
                logits, group.cache = self._decoder.run(group.cache, [[place.making.last] for place in group.places])
            except RunError as error:
                self._fail(group.places, error)
            else:
                self._take(group.places, logits)
        self._tell()
        self._settle(joined)

    def _enter(self) -> _Group | None:
        """Read the next prompts, or the next part of a long one; return those that are through, each with a token."""
        self._let_go([place for place in self._entering if place.making.over])
        self._entering = deque(place for place in self._entering if not place.making.over)
        places = self._next_prompts()
        if not places:
            return None
        first = places[0]
        parts = [place.making.prompt[place.read : place.read + self._part_tokens] for place in places]
        began_s = time.monotonic()
        try:
            logits, cache = self._decoder.run(first.cache or self._decoder.empty(len(places)), parts)
        except RunError as error:
            self._fail(places, error)
            return None
        self._learn(len(parts) * max(map(len, parts)), time.monotonic() - began_s)
        first.read += len(parts[0])
        if first.read < len(first.making.prompt):  # then it was alone; the others have their turn before its next part
            first.cache = cache
            self._entering.append(first)
            return None
        first.cache = None
        self._take(places, logits)
        return _Group(cache, places)

    def _learn(self, tokens: int, took_s: float) -> None:
        """Move the size of a part towards what the runtime does in the time for one."""
        fitting = int(tokens / max(took_s, 1e-6) * PART_S)
        self._part_tokens = min(PART_TOKENS_MAX, max(PART_TOKENS_MIN, (self._part_tokens + fitting) // 2))

    def _next_prompts(self) -> list[_Place]:
        """Take out the next places: whole short prompts together, or one with a long one."""
        if not self._entering:
            return []
        places = [self._entering.popleft()]
        longest = len(places[0].making.prompt)
        if longest > self._part_tokens:
            return places
        while self._entering:
            length = len(self._entering[0].making.prompt)
            wide = max(longest, length)
            uneven = self._decoder.pads is Pads.NONE and length != longest
            if wide * (len(places) + 1) > self._part_tokens or uneven:
                break
            places.append(self._entering.popleft())
            longest = wide
        return places

    def _take(self, places: list[_Place], logits: Floats) -> None:
        """Draw each stream's next token and note what there is to tell of it."""
        on = [row for row, place in enumerate(places) if not place.making.over]
        makings = [places[row].making for row in on]
        tokens = choose(logits[on], [making.sampling for making in makings], [making.draws for making in makings])
        for row, making, token in zip(on, makings, tokens, strict=True):
            piece = making.add(token, token in self._ends)
            if piece is not None:
                self._note(places[row], piece)
        # Before it is told: who reads the end of a stream finds its place free.
        self._let_go([place for place in places if place.making.over])

    def _settle(self, joined: _Group | None) -> None:
        """Let the finished go, and put those together whose lengths are alike."""
        over = [place for group in self._groups for place in group.places if place.making.over]
        if joined is not None:
            over += [place for place in joined.places if place.making.over]
            self._groups.append(joined)
        if joined is None and not over:
            return
        alike: dict[int, list[tuple[_Group, list[int]]]] = {}
        for group in self._groups:
            mine: dict[int, list[int]] = {}
            for row, place in enumerate(group.places):
                if not place.making.over:
                    mine.setdefault(self._alike(int(group.cache.lengths[row])), []).append(row)
            for kind, rows in mine.items():
                alike.setdefault(kind, []).append((group, rows))
        self._groups = [
            _Group(
                self._decoder.gather([(group.cache, rows) for group, rows in parts]),
                [group.places[row] for group, rows in parts for row in rows],
            )
            for parts in alike.values()
        ]
        self._let_go(over)

    def _alike(self, length: int) -> int:
        """Return what rows have in common that may step together."""
        return length if self._decoder.pads is Pads.NONE else max(ALIKE_TOKENS, 1 << (length - 1).bit_length())

    def _fail(self, places: list[_Place], error: Exception) -> None:
        """The runtime could not run these (out of memory, mostly): they fail, the others go on."""
        # What the runtime says may hold values of the texts: that is nobody's to read.
        log.error("a run for %d streams failed: %s", len(places), type(error).__name__)
        self._failures += 1
        self._failed_s = time.monotonic()
        self._drop(places, Trouble(Kind.UNAVAILABLE, "the runtime could not run this text's next token"))
        self._let_go(places)

    def _break(self, error: Exception) -> None:
        """A step ended halfway, so nobody knows how far its streams are: all that were let in fail; who waits has not begun."""
        log.error("a step of a language model broke", exc_info=error)
        with self._change:
            places = list(self._present.difference(self._waiting))
        self._entering.clear()
        self._groups = []
        self._fail(places, error)
        self._tell()

    def _drop(self, places: Iterable[_Place], why: Trouble) -> None:
        for place in places:
            self._note(place, why)  # who has the end of his text reads no further
            place.making.failed = True

    def _let_go(self, places: list[_Place]) -> None:
        with self._change:
            self._present.difference_update(places)

    def _note(self, place: _Place, told: Piece | Trouble) -> None:
        self._told.setdefault(place.loop, []).append((place.reader, told))

    def _tell(self) -> None:
        """Hand all that there is to tell to the readers' loops: one call per loop and step."""
        for loop, told in self._told.items():
            with contextlib.suppress(RuntimeError):  # a loop that was closed has no readers left
                loop.call_soon_threadsafe(_deliver, told)
        self._told = {}


def _deliver(told: list[_Told]) -> None:
    for reader, one in told:
        stream = reader()
        if stream is not None:
            stream.receive(one)
