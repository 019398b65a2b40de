"""Open Inference Protocol v2 over gRPC: the same calls as over HTTP, by the same desk and the same caller.

gRPC names the model in the message, so what is judged before that is read is whether the call may enter here for each
model that its tenant may call; `infercast-model` in the metadata names the one, and then all is decided from there.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

from google.protobuf.message import DecodeError

from infercast.policies.engine import Unknown, tighter
from infercast.policies.model import Request
from infercast.policies.units import US_PER_S

from .. import VERSION
from ..conduct import clock
from ..conduct.ports import Received
from ..conduct.troubles import unknown
from ..errors import Gone, Kind, Trouble, let_go
from ..rpc import messages as wire
from ..rpc.bodies import NAME_CHARS_MAX, answer_of, asked_of
from .desk import Desk
from .http import BODY_BYTES_MAX, Ask, Message
from .models import EXTENSIONS, metadata_of, ready
from .rpc_status import Said, said_of

log = logging.getLogger("infercast.ingress")
READ_S = 10.0
"""A message that only names a model is waited for so long; that of an infer call, for as long as its deadline lets it."""
Read = Callable[[], Awaitable[bytes]]


class End(Exception):  # noqa: N818 - how a stream of calls ends, not an error
    """The caller has sent its last message."""


@dataclass(slots=True)
class RpcCall:
    """A call as far as its metadata; its messages are read when asked for.

    `until_s` is gRPC's own deadline on the monotonic clock, in seconds, None where there is none.
    """

    ask: Ask
    messages: AsyncIterator[bytes]
    until_s: float | None = None

    @classmethod
    def of(
        cls, metadata: Iterable[tuple[str, str | bytes]], messages: AsyncIterator[bytes], left_s: float | None
    ) -> Self:
        """Return a call from what a server is told of it. A name that stands twice counts with both its values.

        `left_s` is what gRPC's deadline leaves of the time, None where there is none.
        """
        headers: dict[bytes, bytes] = {}
        for name, value in metadata:
            if name.endswith("-bin") or name == "content-length":
                continue
            key, text = name.encode(), value if isinstance(value, bytes) else value.encode("latin-1", "replace")
            headers[key] = b", ".join([headers[key], text]) if key in headers else text
        until_s = None if left_s is None else time.monotonic() + left_s
        return cls(Ask("POST", "", headers, _nothing, arrived_us=clock.now_us()), messages, until_s)

    async def read(self) -> bytes:
        """Return the next message. Raises End where there is none, Trouble for one that is too large."""
        try:
            message = await anext(self.messages)
        except StopAsyncIteration:
            raise End from None
        self.ask.read_bytes = len(message)
        if len(message) > BODY_BYTES_MAX:
            raise Trouble(Kind.TOO_LARGE, f"the message has {len(message)} bytes", f"at most {BODY_BYTES_MAX}")
        return message

    async def only(self) -> bytes:
        """Return the one message. Raises Trouble where none comes."""
        try:
            return await self.read()
        except End:
            raise Trouble(Kind.BAD_REQUEST, "no message came", f"send one, of at most {BODY_BYTES_MAX} bytes") from None


class Rpc:
    """The protocol's methods at one entry."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def live(self, _: RpcCall) -> Said:
        """ServerLive: this answers, so it lives."""
        return Said(wire.ServerLiveResponse(live=True).SerializeToString())

    async def ready(self, _: RpcCall) -> Said:
        """ServerReady: whether anything that this entry knows of can run."""
        return Said(wire.ServerReadyResponse(ready=ready(self._desk.caller)).SerializeToString())

    async def server(self, _: RpcCall) -> Said:
        """ServerMetadata."""
        told = wire.ServerMetadataResponse(name="infercast", version=VERSION, extensions=EXTENSIONS)
        return Said(told.SerializeToString())

    async def model_ready(self, call: RpcCall) -> Said:
        """ModelReady: whether one of its deployments can run."""
        asked, _ = await self._named(call, wire.ModelReadyRequest)
        can = ready(self._desk.caller, asked.name, asked.version)
        return Said(wire.ModelReadyResponse(ready=can).SerializeToString())

    async def model(self, call: RpcCall) -> Said:
        """ModelMetadata."""
        _, told = await self._named(call, wire.ModelMetadataRequest)
        return Said(wire.ModelMetadataResponse(**told).SerializeToString())

    async def _named(self, call: RpcCall, kind: Any) -> tuple[Any, dict[str, Any]]:
        """Return a message that names a model, and what is known of that. The key is judged before it is read."""
        self._desk.key(call.ask)
        try:
            async with asyncio.timeout(READ_S):
                message = await call.only()
        except TimeoutError:
            raise Trouble(Kind.DEADLINE, f"no message came within {READ_S:.0f} s", "send it with the call") from None
        try:
            asked = kind.FromString(message)
        except DecodeError as error:
            raise Trouble(Kind.BAD_REQUEST, f"the message is no {kind.DESCRIPTOR.full_name}") from error
        if max(len(asked.name), len(asked.version)) > NAME_CHARS_MAX:
            raise Trouble(Kind.BAD_REQUEST, "the name of the model or version is too long", f"at most {NAME_CHARS_MAX}")
        key = self._desk.key(call.ask)  # as it is now: the message may have been long in coming
        return asked, metadata_of(self._desk.caller, key.tenant, asked.name, asked.version)

    async def infer(self, call: RpcCall) -> Said:
        """ModelInfer: judged from metadata, read only then."""
        return await self._carry(call, self._request(call), call.only)

    async def stream(self, call: RpcCall) -> AsyncIterator[bytes]:
        """ModelStreamInfer: one call after the other, each judged anew before its message is read. Raises Trouble.

        What goes wrong with one of them is said in its answer, as Triton has it, and the stream goes on; once one may
        not enter any more, the stream ends with that.
        """
        while True:
            request = self._request(call)
            call.ask.read_bytes = 0
            if not self._may_enter(request):
                await self._carry(call, request, call.only)
            try:
                message = await call.read()
            except End:
                return
            # It may have come long after: whose call it is and what time it has are as they are now.
            yield _streamed(await said_by(self._carry(call, self._request(call), _giving(message))))

    def _may_enter(self, request: Request) -> bool:
        engine = self._desk.caller.engine
        try:
            return (engine.compiled(request).gate if request.model else engine.shut(request)) is None
        except Unknown:
            return False

    def _request(self, call: RpcCall) -> Request:
        """Return the metadata of a call. Its model is empty where only the message says it."""
        ask = call.ask
        request = self._desk.request_of(ask, self._desk.key(ask), ask.header("infercast-model") or "")
        until_s = call.until_s
        left_us = 0 if until_s is None else max(1, int((until_s - time.monotonic()) * US_PER_S))
        return replace(request, deadline_us=tighter(request.deadline_us, left_us))

    async def _carry(self, call: RpcCall, request: Request, read: Read) -> Said:
        async def receive() -> Received:
            asked = asked_of(await read())
            if request.model not in ("", asked.model):
                told = f"the message is for {asked.model!r}, the metadata for {request.model!r}"
                raise Trouble(Kind.BAD_REQUEST, told, "name one model")
            narrowed = replace(request, model=asked.model, variant=asked.version)
            return Received(asked.body, asked.header_bytes, request=narrowed)

        answered = await self._desk.carry(call.ask, request, receive)
        answer = answered.answer
        facts = {
            name.decode(): text.decode("ascii", "replace") for name, text in self._desk.facts(answered, request.id)
        }
        return Said(answer_of(answer.body, answer.header_bytes, facts), trailing=tuple(facts.items()))


async def said_by(running: Awaitable[Said]) -> Said:
    """Wait for an answer, troubles and our own faults among them."""
    try:
        return await running
    except Trouble as trouble:
        let_go(trouble)
        return said_of(trouble)
    except Unknown as error:  # its tenant's policy has gone while it was on its way
        let_go(error)
        return said_of(unknown(error))
    except asyncio.CancelledError:
        raise
    except Exception as error:
        # As in the HTTP ingress: one call's fault must not end the others. It is logged and told.
        log.exception("fault while answering a gRPC call")
        let_go(error)
        return said_of(Trouble(Kind.FAULT, "this is our fault, and logged", "repeat the call"))


def _streamed(said: Said) -> bytes:
    """Return an answer as the stream has it."""
    told = wire.ModelStreamInferResponse(error_message=said.details)
    if not said.details:
        told.infer_response.MergeFromString(said.message)
    return bytes(told.SerializeToString())


def _giving(message: bytes) -> Read:
    async def read() -> bytes:
        return message

    return read


async def _nothing() -> Message:
    raise Gone
