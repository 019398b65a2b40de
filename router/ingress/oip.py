"""Open Inference Protocol v2 over HTTP. A version of a model is one of its variants."""

from .. import VERSION
from ..conduct.ports import Received
from ..errors import Kind, Trouble
from .codings import packed
from .desk import Desk
from .http import Ask, Reply
from .models import EXTENSIONS, metadata_of, ready
from .operations import VERSIONED
from .presence import Presence, Waiters
from .routes import Handler, Route

MODEL = "/v2/models/{model}"
JSON, BINARY = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")
NOT_SERVED = {
    ("GET", f"{MODEL}/config"): "GET /v2/models/MODEL says its inputs and outputs",
    ("GET", f"{VERSIONED}/config"): "GET /v2/models/MODEL says its inputs and outputs",
    ("GET", "/v2/models/stats"): "GET /v1/signals says what is known of the fleet's load",
    ("GET", f"{MODEL}/stats"): "GET /v1/signals says what is known of the fleet's load",
    ("GET", f"{VERSIONED}/stats"): "GET /v1/signals says what is known of the fleet's load",
    ("POST", "/v2/repository/index"): "the fleet file says which models there are",
    ("POST", "/v2/repository/models/{model}/load"): "the fleet file says which models there are",
    ("POST", "/v2/repository/models/{model}/unload"): "the fleet file says which models there are",
    ("POST", "/v2/systemsharedmemory/region/{region}/register"): "send the values in the request",
    ("POST", "/v2/cudasharedmemory/region/{region}/register"): "send the values in the request",
}
"""Triton's extensions that its clients ask for, and what serves here instead."""


class Oip:
    """The protocol's routes at one entry."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._waiters = Waiters()

    def routes(self) -> list[Route]:
        """Return what is served, and what is said to not be."""
        served = [
            Route("GET", "/v2", self._server),
            Route("GET", "/v2/health/live", self._live),
            Route("GET", "/v2/health/ready", self._server_ready),
        ]
        for path in (MODEL, VERSIONED):
            served.append(Route("GET", path, self._model))
            served.append(Route("GET", f"{path}/ready", self._ready))
            served.append(Route("POST", f"{path}/infer", self._infer))
        return [*(Route(*which, _not_served(instead), served=False) for which, instead in NOT_SERVED.items()), *served]

    async def _infer(self, ask: Ask) -> Reply:
        desk = self._desk
        request = desk.request_of(ask, desk.key(ask), ask.names["model"], ask.names.get("version", ""))
        header_bytes = ask.length("inference-header-content-length")
        caller, waiters = Presence(ask.receive), self._waiters

        async def receive() -> Received:
            body = await ask.body()
            waiters.add(caller)
            return Received(body, header_bytes)

        try:
            answered = await caller.during(desk.carry(ask, request, receive))
        finally:
            waiters.drop(caller)
        answer = answered.answer
        headers = desk.facts(answered, request.id)
        if answer.header_bytes is None:
            headers = (JSON, *headers)
        else:
            headers = (BINARY, *headers, (b"inference-header-content-length", b"%d" % answer.header_bytes))
        accepted = ask.header("accept-encoding")
        if accepted is None:
            return Reply(200, answer.body, headers)
        body, coding = await packed(answer.body, accepted)
        return Reply(200, body, headers if coding is None else (*headers, (b"content-encoding", coding.encode())))

    async def _model(self, ask: Ask) -> Reply:
        key = self._desk.key(ask)
        return Reply.json(metadata_of(self._desk.caller, key.tenant, ask.names["model"], ask.names.get("version", "")))

    async def _ready(self, ask: Ask) -> Reply:
        key, caller = self._desk.key(ask), self._desk.caller
        model, version = ask.names["model"], ask.names.get("version", "")
        metadata_of(caller, key.tenant, model, version)
        if not ready(caller, model, version):
            raise not_ready(version or model)
        return Reply.json({"name": model, "ready": True})

    async def _server(self, _: Ask) -> Reply:
        return Reply.json({"name": "infercast", "version": VERSION, "extensions": EXTENSIONS})

    async def _live(self, _: Ask) -> Reply:
        return self._health(can=ready(self._desk.caller))

    async def _server_ready(self, _: Ask) -> Reply:
        if not ready(self._desk.caller):
            raise not_ready("any model")
        return self._health(can=True)

    def _health(self, *, can: bool) -> Reply:
        desk = self._desk
        site, emulated = desk.caller.entry, desk.emulated
        return Reply.json({"live": True, "ready": can, "site": site, "emulated_distances": emulated})


def not_ready(what: str) -> Trouble:
    """Return what is said of a model that nothing can run now."""
    return Trouble(Kind.UNAVAILABLE, f"nothing that is healthy can run {what}", "GET /v1/signals says what is heard of")


def _not_served(instead: str) -> Handler:
    async def handler(ask: Ask) -> Reply:
        raise Trouble(Kind.NOT_FOUND, f"{ask.method} {ask.path} is Triton's own, and not served here", instead)

    return handler
