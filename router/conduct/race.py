"""Two coroutines side by side, of which the first good result counts: what asyncio leaves to whoever wants that without a leak."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..errors import let_go

T = TypeVar("T")


class Ending(Generic[T]):
    """Tasks that nobody waits for any more, kept until they have ended; what they result in all the same is `closed`."""

    def __init__(self, closed: Callable[[T], Coroutine[Any, Any, None]]) -> None:
        self._closed = closed
        self.tasks: set[asyncio.Task[Any]] = set()

    def let_go(self, task: "asyncio.Task[T]") -> None:
        """Cancel a task, and see to what becomes of it."""
        self.tasks.add(task)
        task.add_done_callback(self._gone)
        task.cancel()

    def _gone(self, task: "asyncio.Task[T]") -> None:
        self.tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            let_go(error)
        else:
            closing = asyncio.get_running_loop().create_task(self._closed(task.result()))
            self.tasks.add(closing)
            closing.add_done_callback(self.tasks.discard)


class Race(Generic[T]):
    """A first coroutine, and from a moment on a second beside it, until one has a result that `wins`.

    The first runs in the task of whoever waits: where it is done before that moment, a second costs no more than a timer.
    When the second wins while it runs, `outrun` is called and the first is cancelled, as `asyncio.timeout` would do it.
    """

    __slots__ = ("_beaten", "_ending", "_outrun", "_running", "_second", "_start", "_used", "_waiter", "_wins")

    def __init__(
        self,
        second: Callable[[], Coroutine[Any, Any, T]],
        wins: Callable[[T], bool],
        outrun: Callable[[], None],
        ending: Ending[T],
    ) -> None:
        self._start = second
        self._wins = wins
        self._outrun = outrun
        self._ending = ending
        self._second: asyncio.Task[T] | None = None
        self._waiter: asyncio.Task[Any] | None = None
        self._running = True
        self._beaten = False
        self._used = False

    async def run(self, first: Coroutine[Any, Any, T], after_s: float) -> list[T]:
        """Return the result that won alone, or those of both in their order. Raises what either raises, and then ends the other."""
        self._waiter = waiter = asyncio.current_task()
        assert waiter is not None
        cancelling = waiter.cancelling()
        timer = asyncio.get_running_loop().call_later(after_s, self._begin)
        met: list[T] = []
        try:
            try:
                met.append(await first)
            except BaseException as error:
                if not self._beaten:
                    raise
                let_go(error)
            finally:
                self._running = False
                timer.cancel()
            # Somebody else may have cancelled the waiter at the same moment: that counts then.
            if self._beaten and waiter.uncancel() > cancelling:
                raise asyncio.CancelledError
            if self._second is None or (met and self._wins(met[0])):
                return met
            beside = await self._second
            self._used = True
            return [beside] if self._wins(beside) else [*met, beside]
        finally:
            if self._second is not None and not self._used:
                self._ending.let_go(self._second)

    def _begin(self) -> None:
        self._second = asyncio.get_running_loop().create_task(self._start())
        self._second.add_done_callback(self._ended)

    def _ended(self, second: "asyncio.Task[T]") -> None:
        good = not second.cancelled() and second.exception() is None and self._wins(second.result())
        if good and self._running and self._waiter is not None:
            self._beaten = True
            self._outrun()
            self._waiter.cancel()
