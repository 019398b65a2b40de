"""Whether a caller is still there: work for one who has hung up is ended."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from ..errors import Gone
from .http import Receive

Result = TypeVar("Result")


class Presence:
    """Watches for the end of a connection, from when the body has been read: before that, reading it would notice."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._read = asyncio.Event()
        self._left = asyncio.create_task(self._hung_up())

    def read(self) -> None:
        """Say that the body has been read."""
        self._read.set()

    async def _hung_up(self) -> None:
        await self._read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def during(
        self, work: Coroutine[Any, Any, Result], drop: Callable[[Result], Awaitable[None]] | None = None
    ) -> Result:
        """Do some work, and return what came of it. Raises Gone, with the work cancelled, where the caller left first.

        `drop` puts away what came of it where nobody takes it: work may be done in the very turn in which it is ended.
        """
        working = asyncio.create_task(work)
        taken = False
        try:
            await asyncio.wait({working, self._left}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                taken = True
                return working.result()
        finally:
            working.cancel()
            (made,) = await asyncio.gather(working, return_exceptions=True)
            if drop is not None and not taken and not isinstance(made, BaseException):
                await drop(made)
        raise Gone

    def end(self) -> None:
        """Watch no longer."""
        self._left.cancel()
