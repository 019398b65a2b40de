"""Whether a caller is still there: work for one who has hung up is ended."""

import asyncio
from collections.abc import Coroutine
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

    async def during(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do some work, and return what came of it. Raises Gone, with the work cancelled, where the caller left first."""
        working = asyncio.create_task(work)
        try:
            await asyncio.wait({working, self._left}, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        raise Gone

    def end(self) -> None:
        """Watch no longer."""
        self._left.cancel()
