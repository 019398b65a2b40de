"""The gRPC door of a site: what Serve's own gRPC ingress hands to the site's worker.

HAProxy takes gRPC on one port and sends it, by the metadata `application`, to the gRPC server that Serve runs inside
the worker's process; a message goes through as it comes, held by nobody on the way. There, Serve reads a unary call's
message before it calls anybody. So the methods are registered as if the caller's side were a stream, which looks the
same on the wire: a handler is called as soon as the metadata are in, and reads the message when it may enter.

Infer calls go through Serve's own handler, which counts them for its limits, metrics and draining; that handler leaves
out gRPC's deadline, so the call as gRPC has it is kept beside. Read off Ray 2.60's source, as `settings.py` is.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import grpc

from ..errors import Kind, Trouble
from ..ingress.rpc import Rpc, RpcCall, said_by
from ..ingress.rpc_status import Said, said_of
from ..rpc.messages import SERVICE

Handler = Callable[[AsyncIterator[bytes], Any], Any]


class Site:
    """The site that this process is the worker of; none in other processes that Serve runs gRPC in."""

    rpc: Rpc | None = None


@dataclass(slots=True)
class Visit:
    """An infer call while Serve's handler carries it."""

    call: RpcCall
    said: Said | None = None


visits: ContextVar[Visit] = ContextVar("visits")


class Sent:
    """A message as Serve wants one from an application."""

    def __init__(self, message: bytes) -> None:
        self._message = message

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Return the message's bytes."""
        return self._message


class Visitors:
    """The methods that Serve calls in a site's worker."""

    async def ModelInfer(self, _: Any) -> Sent:  # noqa: N802 - the protocol's name
        """Answer one call; the status stands in the visit."""
        visit = visits.get()
        visit.said = await said_by(_rpc().infer(visit.call))
        return Sent(visit.said.message)

    async def ModelStreamInfer(self, _: Any) -> AsyncIterator[Sent]:  # noqa: N802 - the protocol's name
        """Answer a stream of calls."""
        visit = visits.get()
        try:
            async for message in _rpc().stream(visit.call):
                yield Sent(message)
        except Trouble as trouble:
            visit.said = said_of(trouble)


def open_door(_: Any, server: Any) -> None:
    """Register the service on a server of Serve's; nothing where no site's worker runs: a proxy would read the message."""
    if Site.rpc is None:
        return
    server.add_passthrough_service(SERVICE)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers(Site.rpc, server)),))


def handlers(rpc: Rpc, server: Any) -> dict[str, grpc.RpcMethodHandler]:
    """Return the protocol's methods. `server` makes Serve's own handlers for those that it is to count."""
    from ray.serve._private.proxy_request_response import gRPCStreamingType as Kinds

    def counted(method: str, kind: Any) -> Any:
        return server.service_handler_factory(service_method=f"/{SERVICE}/{method}", streaming_type=kind)

    direct = {
        "ServerLive": rpc.live,
        "ServerReady": rpc.ready,
        "ServerMetadata": rpc.server,
        "ModelReady": rpc.model_ready,
        "ModelMetadata": rpc.model,
    }
    once = grpc.stream_unary_rpc_method_handler
    return {
        **{name: once(_direct(method)) for name, method in direct.items()},
        "ModelInfer": once(_infer(counted("ModelInfer", Kinds.STREAM_UNARY))),
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
            _stream(counted("ModelStreamInfer", Kinds.STREAM_STREAM))
        ),
    }


def _direct(method: Callable[[RpcCall], Awaitable[Said]]) -> Handler:
    async def handler(messages: AsyncIterator[bytes], context: Any) -> bytes:
        return _settled(context, await said_by(method(_call(messages, context))))

    return handler


def _infer(serve: Handler) -> Handler:
    async def handler(messages: AsyncIterator[bytes], context: Any) -> bytes:
        visit = Visit(_call(messages, context))
        visits.set(visit)
        body: bytes = await serve(messages, context)
        return body if visit.said is None else _settled(context, visit.said)

    return handler


def _stream(serve: Handler) -> Handler:
    async def handler(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        visit = Visit(_call(messages, context))
        visits.set(visit)
        async for message in serve(messages, context):
            yield message
        if visit.said is not None:
            _settled(context, visit.said)

    return handler


def _call(messages: AsyncIterator[bytes], context: Any) -> RpcCall:
    return RpcCall.of(context.invocation_metadata(), messages, context.time_remaining())


def _settled(context: Any, said: Said) -> bytes:
    """Put an answer's status and trailing metadata in place, and return its message. Where Serve put its own, ours count."""
    if said.code is not grpc.StatusCode.OK:
        context.set_code(said.code)
        context.set_details(said.details)
    context.set_trailing_metadata(said.trailing)
    return said.message


def _rpc() -> Rpc:
    if Site.rpc is None:
        raise Trouble(Kind.UNAVAILABLE, "this process is no site's worker")
    return Site.rpc
