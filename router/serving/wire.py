"""What travels between workers of one cluster. Trouble travels as a value: exceptions do not survive the way whole."""

import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any, Self

from infercast.policies.model import Request

from ..api import Api, Event
from ..conduct.ports import Lost
from ..errors import Kind, Trouble
from ..runtime.host import Answer

log = logging.getLogger("infercast.site")


@dataclass(frozen=True, slots=True)
class Away:
    """A call handed to another site of the cluster: that site checks it against the policy once more."""

    request: Request
    deployment: int
    body: bytes
    header_bytes: int | None
    timeout_s: float
    api: Api = Api.INFER
    stream: bool = False

    def __reduce__(self) -> tuple[type["Away"], tuple[object, ...]]:
        """Travel by its values in order, which is the fastest; without those that most calls do not have."""
        always = (self.request, self.deployment, self.body, self.header_bytes, self.timeout_s)
        return Away, always if self.api is Api.INFER and not self.stream else (*always, self.api, self.stream)


@dataclass(frozen=True, slots=True)
class Came:
    """What comes back: an answer, or the trouble with the call. `lost` says that the place behind it was lost."""

    answer: Answer | None = None
    lost: bool = False
    kind: Kind = Kind.FAULT
    message: str = ""
    remedy: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    def __reduce__(self) -> tuple[type["Came"], tuple[object, ...]]:
        """Travel by its values in order; an answer says all."""
        if self.answer is not None:
            return Came, (self.answer,)
        return Came, (None, self.lost, self.kind, self.message, self.remedy, self.extra)

    def trouble(self) -> Trouble:
        """Return the trouble that came instead of an answer."""
        return Trouble(self.kind, self.message, self.remedy, self.extra)


def came_from(answer: Answer | Trouble) -> Came:
    """Return an answer or a trouble as what travels."""
    if isinstance(answer, Trouble):
        return Came(kind=answer.kind, message=answer.message, remedy=answer.remedy, extra=answer.extra)
    return Came(answer)


def fault(error: Exception) -> Came:
    """Return an exception that nobody foresaw as the trouble it is.

    It would travel with its text, which may quote the call, be written into Ray's logs with it, and count as a place that
    is lost, though the place lives: one caller's body would have it taken from all.
    """
    log.error("fault while a call ran", exc_info=error)
    return Came(kind=Kind.FAULT, message="this is our fault, and logged", remedy="repeat the call")


async def came_of(running: Awaitable[Answer]) -> Came:
    """Wait for a call and return what came of it, troubles as values. Raises Lost and TimeoutError."""
    try:
        return came_from(await running)
    except Trouble as trouble:
        return came_from(trouble)
    except (Lost, TimeoutError):
        raise
    except Exception as error:  # noqa: BLE001 - the last line of defence of a replica: it is logged and told
        return fault(error)


Item = Came | Event
"""Of a streamed answer on its way: first what came, then its events; a second `Came` says what cut it short."""


async def items_of(running: Awaitable[Answer]) -> AsyncGenerator[Item, None]:
    """Wait for a call and send what comes of it: the answer without its stream, then its events."""
    try:
        answer = await running
    except Trouble as trouble:
        yield came_from(trouble)
        return
    except (Lost, TimeoutError) as error:
        yield Came(lost=True, message=str(error))
        return
    except Exception as error:  # noqa: BLE001 - as in `came_of`
        yield fault(error)
        return
    if answer.stream is None:
        yield Came(answer)
        return
    async with aclosing(answer.stream):
        yield Came(replace(answer, stream=None))
        try:
            async for event in answer.stream:
                yield event
        except Trouble as trouble:
            yield came_from(trouble)
        except Lost as error:
            yield Came(lost=True, message=str(error))
        except Exception as error:  # noqa: BLE001 - as in `came_of`
            yield fault(error)


def answer_in(came: Came) -> Answer:
    """Return the answer that came. Raises what came instead: Lost or Trouble."""
    if came.lost:
        raise Lost(came.message)
    if came.answer is None:
        raise came.trouble()
    return came.answer


class Arriving:
    """A streamed answer as it comes from another replica."""

    def __init__(self, items: Any, lost: tuple[type[Exception], ...]) -> None:
        self._items = items
        self._lost = lost

    async def first(self) -> Answer:
        """Return the answer with this as its stream. Raises Lost or Trouble."""
        return replace(answer_in(await self._next()), stream=self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        item = await self._next()
        if isinstance(item, Came):
            answer_in(item)
            raise Lost("the replica answered twice")
        event: Event = item
        return event

    async def _next(self) -> Any:
        try:
            return await anext(self._items)
        except self._lost as error:
            raise Lost(str(error)) from error

    async def aclose(self) -> None:
        """Cancel it over there."""
        self._items.cancel()
