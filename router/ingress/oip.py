"""Open Inference Protocol v2 over HTTP."""

from infercast.policies.faults import did_you_mean

from .. import VERSION
from ..conduct.ports import Received
from ..errors import Kind, Trouble
from .desk import Desk
from .http import Ask, Reply
from .routes import Route


class Oip:
    """The protocol's routes at one entry."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Return what is served."""
        return [
            Route("GET", "/v2", self._server),
            Route("GET", "/v2/health/live", self._alive),
            Route("GET", "/v2/health/ready", self._alive),
            Route("GET", "/v2/models/{model}", self._model),
            Route("GET", "/v2/models/{model}/ready", self._ready),
            Route("POST", "/v2/models/{model}/infer", self._infer),
        ]

    async def _infer(self, ask: Ask) -> Reply:
        desk = self._desk
        request = desk.request_of(ask, desk.key(ask), ask.names["model"])
        header_bytes = ask.length("inference-header-content-length")

        async def receive() -> Received:
            return Received(await ask.body(), header_bytes)

        answered = await desk.carry(ask, request, receive)
        answer = answered.answer
        facts = desk.facts(answered, request.id)
        if answer.header_bytes is None:
            return Reply(200, answer.body, ((b"content-type", b"application/json"), *facts))
        length = (b"inference-header-content-length", str(answer.header_bytes).encode())
        return Reply(200, answer.body, ((b"content-type", b"application/octet-stream"), *facts, length))

    def _known(self, ask: Ask) -> str:
        """Return the model that a path names, where the caller's tenant may call it."""
        tenant, model = self._desk.key(ask).tenant, ask.names["model"]
        known = self._desk.caller.engine.models_of(tenant)
        if model not in known:
            raise Trouble(Kind.NOT_FOUND, f"no model is called {model!r}", did_you_mean(model, known))
        return model

    async def _ready(self, ask: Ask) -> Reply:
        return Reply.json({"name": self._known(ask), "ready": True})

    async def _model(self, ask: Ask) -> Reply:
        model, fleet = self._known(ask), self._desk.caller.fleet
        variants = [variant.id for variant in fleet.model_by_id[model].variants]
        card = fleet.cards[variants[0]]
        return Reply.json(
            {
                "name": model,
                "versions": variants,
                "platform": "onnxruntime_onnx",
                "inputs": [tensor.model_dump() for tensor in card.inputs],
                "outputs": [tensor.model_dump() for tensor in card.outputs],
            }
        )

    async def _server(self, _: Ask) -> Reply:
        extensions = ["binary_tensor_data"]
        return Reply.json({"name": "infercast", "version": VERSION, "extensions": extensions})

    async def _alive(self, _: Ask) -> Reply:
        desk = self._desk
        return Reply.json({"live": True, "ready": True, "site": desk.caller.entry, "emulated_distances": desk.emulated})
