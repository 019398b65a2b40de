"""Awaiting what is mostly there already: the first step is taken at once, and only what then has to wait is waited for."""

from collections.abc import Coroutine, Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """A coroutine whose first step has been taken. Either it is `done`, with its `value`, or it is to be awaited.

    Between the call that made it and a `done` nothing else ran on the event loop.
    """

    __slots__ = ("_coroutine", "_first", "done", "value")

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self.value: T | None = None
        try:
            self._first = coroutine.send(None)
            self.done = False
        except StopIteration as end:
            self.value = end.value
            self.done = True

    def __await__(self) -> Generator[Any, Any, T]:
        """Go on with the coroutine from where its first step ended."""
        waits_for = self._first
        while True:
            try:
                sent = yield waits_for
            except BaseException as error:  # noqa: BLE001 - cancellation and all else go where the coroutine waits
                step, given = self._coroutine.throw, error
            else:
                step, given = self._coroutine.send, sent  # type: ignore[assignment]
            try:
                waits_for = step(given)
            except StopIteration as end:
                value: T = end.value
                return value
            finally:
                del given  # an exception that goes on has this frame, which must not hold it
