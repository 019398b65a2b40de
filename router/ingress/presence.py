"""Whether a caller is still there: work for one who has hung up is ended."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..errors import Gone
from .http import Receive

Result = TypeVar("Result")
LOOK_S = 0.1
"""How often it is looked for calls that have become long ones."""


class Presence:
    """Watches for the end of a connection, from when the body has been read: before that, reading it would notice.

    The work stays in the task that asks for it, as with `asyncio.timeout`: a task of its own costs every call more than
    its decision does.
    """

    __slots__ = ("_gone", "_receive", "_watching", "_working")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._watching: asyncio.Task[None] | None = None
        self._working: asyncio.Task[Any] | None = None
        self._gone = False

    def read(self) -> None:
        """Say that the body has been read."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._hung_up())

    async def _hung_up(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        if self._working is not None:
            self._working.cancel()

    async def during(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do some work, and return what came of it. Raises Gone, with the work cancelled, where the caller left first."""
        if self._gone:
            work.close()
            raise Gone
        self._working = working = asyncio.current_task()
        try:
            return await work
        except asyncio.CancelledError:
            # Who else has cancelled this task means the task, not the work in it.
            if self._gone and working is not None and working.uncancel() == 0:
                raise Gone from None
            raise
        finally:
            self._working = None

    def end(self) -> None:
        """Watch no longer."""
        watching, self._watching = self._watching, None
        if watching is not None:
            # Its task keeps the frame that it was cancelled in, and that this object: not to be known here breaks the circle.
            watching.cancel()


class Waiters:
    """Callers of calls that are mostly over in a moment. Those who have waited for longer are watched; for the others nothing is made."""

    def __init__(self) -> None:
        self._new: set[Presence] = set()
        self._known: set[Presence] = set()
        self._look_due: asyncio.TimerHandle | None = None

    def add(self, caller: Presence) -> None:
        """Watch a caller, whose body has been read, if it is still here at the second look from now."""
        self._new.add(caller)
        if self._look_due is None:
            self._look_due = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def drop(self, caller: Presence) -> None:
        """End with a caller, added or not."""
        self._new.discard(caller)
        self._known.discard(caller)
        caller.end()

    def _look(self) -> None:
        for caller in self._known:
            caller.read()
        self._known, self._new = self._new, set()
        self._look_due = asyncio.get_running_loop().call_later(LOOK_S, self._look) if self._known else None
