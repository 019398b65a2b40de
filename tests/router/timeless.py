"""An event loop whose time passes only when nothing else is to be done, and then at once; and a runner that plays by it."""

import asyncio
import math
import selectors
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

from infercast.policies.fleet import Fleet
from infercast.policies.model import Request
from infercast.router.conduct.endings import Carrying
from infercast.router.conduct.ports import Carried, Lost
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from infercast.router.upstream.statuses import Broken, Declined, Full


class _NoWait(selectors.DefaultSelector):
    """Does not wait for files; tells how long it was asked to."""

    asked_s: float | None = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.asked_s = timeout
        return super().select(0)


class Timeless(asyncio.SelectorEventLoop):
    """Its time starts where it is told. Raises RuntimeError where everybody waits and nothing will ever come."""

    def __init__(self, began_us: int = 0) -> None:
        self._now_us = began_us
        self._asked = _NoWait()
        super().__init__(self._asked)

    def time(self) -> float:
        return self._now_us / 1_000_000

    def now_us(self) -> int:
        """The time that the conduct of calls goes by."""
        return self._now_us

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self._asked.asked_s is None:
            raise RuntimeError("everybody waits, and nothing will ever come")
        # Upwards: what is due is due a little before its time for nobody.
        self._now_us += int(self._asked.asked_s * 1_000_000) + (self._asked.asked_s > 0)


@contextmanager
def timeless(began_us: int = 0) -> Iterator[Timeless]:
    """Let the conduct of calls go by such a loop's time."""
    loop = Timeless(began_us)
    try:
        with patch("infercast.router.conduct.clock.now_us", loop.now_us):
            yield loop
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def left_behind(loop: Timeless) -> set["asyncio.Task[Any]"]:
    """The tasks that are still there once everything that was cancelled has had its turns."""

    async def turns() -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    loop.run_until_complete(turns())
    return asyncio.all_tasks(loop)


@dataclass
class Stream:
    """An answer in events that remembers whether it was closed."""

    events: list[bytes] = field(default_factory=lambda: [b"a", b"b"])
    closed: bool = False

    def __aiter__(self) -> "Stream":
        return self

    async def __anext__(self) -> bytes:
        if not self.events:
            raise StopAsyncIteration
        return self.events.pop(0)

    async def aclose(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Play:
    """What one try does: after so long, one of WORDS."""

    word: str = "ok"
    after_ms: float = 0.0


@dataclass
class Made:
    """One try that was made: where, from when until when, and how it ended."""

    index: int
    began_us: int
    ended_us: int = -1
    how: str = ""
    stream: Stream | None = None


ERRORS: dict[str, Callable[[], Exception]] = {
    "lost": lambda: Lost("gone"),
    "broken": lambda: Broken("it reset the connection"),
    "full": lambda: Full("status 429", 2),
    "declined": lambda: Declined("refused"),
    "saturated": lambda: Trouble(Kind.SATURATED, "256 streams are on"),
    "fault": lambda: Trouble(Kind.FAULT, "the replica says it is its fault"),
    "trouble": lambda: Trouble(Kind.BAD_REQUEST, "input 'image' is missing"),
    "bug": lambda: RuntimeError("nobody foresaw this"),
}
WORDS = ("ok", "stream", *ERRORS)


@dataclass
class Player:
    """Runs tries: the next of the plays each time, `ok` at once when they have ended. `each` is called as one begins."""

    fleet: Fleet
    loop: Timeless
    plays: list[Play] = field(default_factory=list)
    each: Callable[[int, Carried], None] = lambda index, call: None
    made: list[Made] = field(default_factory=list)

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Do what is to be played next, inside the time given."""
        turn = len(self.made)
        made = Made(deployment, self.loop.now_us())
        self.made.append(made)
        self.each(deployment, call)
        play = self.plays[turn] if turn < len(self.plays) else Play()
        try:
            if play.after_ms:
                async with asyncio.timeout(timeout_s):
                    await self._until(self.loop.time() + play.after_ms / 1000)
            if play.word in ERRORS:
                raise ERRORS[play.word]()  # noqa: RSE102, TRY301 - made here, and what is played
        except BaseException as met:
            made.how, made.ended_us = type(met).__name__, self.loop.now_us()
            raise
        made.how, made.ended_us = play.word, self.loop.now_us()
        place = self.fleet.deployments[deployment]
        if play.word == "stream":
            made.stream = Stream()
        return Answer(b"answer", None, place.variant, place.site, 1000, at_site_us=1500, stream=made.stream)

    async def _until(self, at_s: float) -> None:
        """Wait until the next millisecond begins, so that things often happen at the same moment."""
        came = self.loop.create_future()
        timer = self.loop.call_at(math.ceil(at_s * 1000) / 1000, _wake, came)
        try:
            await came
        finally:
            timer.cancel()

    @property
    def tried(self) -> list[str]:
        """The deployments tried, in order."""
        return [self.fleet.deployments[made.index].id for made in self.made]


@dataclass
class Purse:
    """A tenant's money, as a port of `conduct`: what was set aside, what was lost, how it ended. One call's, or several's."""

    waits_ms: float | None = None
    """How long setting aside takes; None: no time at all."""
    tries_max: int = 1_000_000
    """For so many tries there is money."""
    asides: list[int] = field(default_factory=list)
    losses: list[tuple[int, int]] = field(default_factory=list)
    ends: int = 0

    def look(self, request: Request) -> None:
        """Let everybody in."""

    def open(self, call: Carried, carrying: Carrying) -> "Purse":
        """Return itself: the hold of each call."""
        return self

    def reserve(self, aside_nusd: int) -> Awaitable[None] | None:
        """Set aside the most that a try may cost."""
        if len(self.asides) >= self.tries_max:
            raise Trouble(Kind.OVER_BUDGET, "the budget is spent")
        if self.waits_ms is None:
            self.asides.append(aside_nusd)
            return None
        return self._later(aside_nusd)

    async def _later(self, aside_nusd: int) -> None:
        await asyncio.sleep((self.waits_ms or 0) / 1000)
        self.asides.append(aside_nusd)

    def lost(self, aside_nusd: int, cost_nusd: int) -> None:
        """Keep what a try cost that brought no answer."""
        assert self.ends == 0, "the call was settled before"
        self.losses.append((aside_nusd, cost_nusd))

    def end(self, cost_nusd: int, tokens: int | None) -> None:
        """Count the end."""
        self.ends += 1


def _wake(came: "asyncio.Future[None]") -> None:
    if not came.done():
        came.set_result(None)
