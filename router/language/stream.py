"""One text that is being made: the scheduler's thread adds tokens to it, a caller on an event loop reads its pieces."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from types import TracebackType
from typing import Self

import numpy as np

from ..errors import Trouble
from .pieces import Finish, Piece
from .sampling import Sampling, StopStrings
from .tokeniser import Pieces


class Making:
    """The thread's side: what was made so far, and what of it may be told."""

    def __init__(self, prompt: Sequence[int], sampling: Sampling, limit: int, pieces: Pieces) -> None:
        self.prompt = list(prompt)
        self.sampling = sampling
        self.draws: np.random.Generator = sampling.draws()
        self.last = -1
        self.finish: Finish | None = None
        self.gone = False
        """Set by the reader when it wants no more; the thread sees it at the next step."""
        self.failed = False
        self._limit = limit
        self._made = 0
        self._untold = 0
        self._pieces = pieces
        self._stops = StopStrings(sampling.stop)

    @property
    def over(self) -> bool:
        """Whether no more tokens are to be made."""
        return self.gone or self.failed or self.finish is not None

    def add(self, token: int, ends: bool) -> Piece | None:
        """Take the next token; `ends`: it is the mark of the end. Return what there is to tell now."""
        self.last = token
        self._made += 1
        self._untold += 1
        text = "" if ends else self._stops.add(self._pieces.add(token))
        if self._stops.stopped:
            self.finish = "stop"
        elif ends or self._made >= self._limit:
            text += self._stops.add(self._pieces.rest())
            self.finish = "stop" if ends or self._stops.stopped else "length"
            text += self._stops.rest()
        if not text and self.finish is None:
            return None
        piece, self._untold = Piece(text, self._untold, self.finish), 0
        return piece


class Stream(AsyncIterator[Piece]):
    """The reader's side. Pieces that come faster than they are read are joined, so that nothing piles up."""

    def __init__(self, making: Making) -> None:
        self._making = making
        self.loop = asyncio.get_running_loop()
        self._unread: Piece | None = None
        self._trouble: Trouble | None = None
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def receive(self, told: Piece | Trouble) -> None:
        """Take what the thread tells; on the reader's loop."""
        if isinstance(told, Trouble):
            self._trouble = told
        elif self._unread is None:
            self._unread = told
        else:
            before = self._unread
            self._unread = Piece(before.text + told.text, before.tokens + told.tokens, told.finish)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __anext__(self) -> Piece:
        """Return the next piece. Raises Trouble where the model failed, StopAsyncIteration behind the last piece."""
        while True:
            if self._unread is not None:
                piece, self._unread = self._unread, None
                self._ended = piece.finish is not None
                return piece
            if self._ended or self._making.gone:
                raise StopAsyncIteration
            if self._trouble is not None:
                self._ended = True
                raise self._trouble
            self._waiter = self.loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def aclose(self) -> None:
        """Want no more: the stream's place is free at the next step."""
        self._making.gone = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        # A reader that was cancelled, or just forgot it, wants no more either.
        self._making.gone = True
