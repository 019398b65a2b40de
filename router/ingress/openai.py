"""OpenAI's API over HTTP: models, chat completions, completions, embeddings.

The model stands in the body, so whether a call may enter is judged from key and headers alone, for every model that its
tenant may call. What the body says beside them (`infercast`) can only tighten.
"""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from infercast.policies.engine import tighter
from infercast.policies.faults import did_you_mean
from infercast.policies.model import Request

from ..api import Api
from ..conduct.ports import Received
from ..errors import Kind, Trouble, let_go
from ..openai.envelope import Caps, Envelope, no_cap, read_envelope
from .desk import Desk, deadline_us
from .http import Ask, Reply, Sendable
from .openai_errors import openai_reply_of
from .presence import Presence
from .routes import Route
from .sse import EventStream

CREATED_S_UNKNOWN = 0
TASKS = {Api.CHAT: "chat", Api.COMPLETION: "chat", Api.EMBEDDING: "embedding"}
CALLED = {
    "chat": "POST /v1/chat/completions",
    "embedding": "POST /v1/embeddings",
    "tensors": "POST /v2/models/{model}/infer",
}
NOT_SERVED = {("POST", "/v1/responses"): "POST /v1/chat/completions takes conversations"}
"""What its newer tools call first, and what serves here instead."""


class OpenAi:
    """The API's routes at one entry."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[Route]:
        """Return what is served."""
        return [
            self._route("GET", "/v1/models", self._models),
            self._route("GET", "/v1/models/{model}", self._model),
            self._route("POST", "/v1/chat/completions", lambda ask: self._run(ask, Api.CHAT)),
            self._route("POST", "/v1/completions", lambda ask: self._run(ask, Api.COMPLETION)),
            self._route("POST", "/v1/embeddings", lambda ask: self._run(ask, Api.EMBEDDING)),
            *(
                Route(*which, _not_served(instead), openai_reply_of, served=False)
                for which, instead in NOT_SERVED.items()
            ),
        ]

    def _route(self, method: str, path: str, handler: Callable[[Ask], Awaitable[Sendable]]) -> Route:
        return Route(method, path, handler, openai_reply_of)

    async def _run(self, ask: Ask, api: Api) -> Sendable:
        """Carry a call for text or vectors."""
        desk = self._desk
        request = desk.request_of(ask, desk.key(ask), "")
        caller = Presence(ask.receive)

        async def receive() -> Received:
            nonlocal request
            envelope = read_envelope(api, await ask.body(), self._caps(request.tenant))
            caller.read()
            request = self._told(request, envelope, api, own_id=ask.header("infercast-id") is not None)
            ask.call_id = request.id
            return Received(envelope.body, None, api, envelope.stream, request, envelope.tokens_max)

        with ExitStack() as held:
            held.callback(caller.end)
            try:
                answered = await caller.during(desk.carry(ask, request, receive))
            except Trouble as trouble:
                let_go(trouble)
                return openai_reply_of(trouble, request.id)
            headers = (*desk.facts(answered, request.id), (b"x-request-id", request.id.encode("latin-1", "replace")))
            stream = answered.answer.stream
            if stream is None:
                return Reply(200, answered.answer.body, ((b"content-type", b"application/json"), *headers))
            held.pop_all()
            return EventStream(headers, stream, caller)

    def _caps(self, tenant: str) -> Caps:
        """Return what a tenant's policy lets answers have of tokens."""
        policy = self._desk.caller.engine.policies.get(tenant)
        return no_cap if policy is None else policy.limits.completion_max

    def _told(self, request: Request, envelope: Envelope, api: Api, *, own_id: bool) -> Request:
        """Return a call's metadata with what its body says: the model; and more classes, a shorter deadline, an id."""
        self._check_task(request.tenant, envelope.model, TASKS[api])
        return replace(
            request,
            model=envelope.model,
            classes=tuple(sorted({*request.classes, *envelope.classes})),
            deadline_us=tighter(request.deadline_us, deadline_us(envelope.deadline_ms)),
            id=request.id if own_id or envelope.id is None else envelope.id,
        )

    def _check_task(self, tenant: str, model: str, task: str) -> None:
        """Raise Trouble where a model is not there for this tenant, or is called in another way."""
        known = self._tasks(tenant)
        facts = {"param": "model"}
        if model not in known:
            remedy = did_you_mean(model, [name for name, of in known.items() if of == task])
            raise Trouble(Kind.NOT_FOUND, f"no model is called {model!r}", remedy, facts)
        if known[model] != task:
            remedy = CALLED[known[model]].format(model=model)
            raise Trouble(Kind.BAD_REQUEST, f"the model {model!r} is not called in this way", remedy, facts)

    def _tasks(self, tenant: str) -> dict[str, str]:
        """Return the models that a tenant may call, and the task of each."""
        engine = self._desk.caller.engine
        return {model: engine.fleet.model_by_id[model].task for model in engine.models_of(tenant)}

    async def _models(self, ask: Ask) -> Reply:
        tenant = self._desk.key(ask).tenant
        listed = [self._listed(model, task) for model, task in self._tasks(tenant).items() if task in TASKS.values()]
        return Reply.json({"object": "list", "data": listed})

    async def _model(self, ask: Ask) -> Reply:
        tenant, model = self._desk.key(ask).tenant, ask.names["model"]
        known = {name: task for name, task in self._tasks(tenant).items() if task in TASKS.values()}
        if model not in known:
            raise Trouble(
                Kind.NOT_FOUND, f"no model is called {model!r}", did_you_mean(model, known), {"param": "model"}
            )
        return Reply.json(self._listed(model, known[model]))

    def _listed(self, model: str, task: str) -> dict[str, Any]:
        variants = [variant.id for variant in self._desk.caller.fleet.model_by_id[model].variants]
        facts = {"task": task, "variants": variants}
        return {
            "id": model, "object": "model", "created": CREATED_S_UNKNOWN, "owned_by": "infercast", "infercast": facts,
        }  # fmt: skip


def _not_served(instead: str) -> Callable[[Ask], Awaitable[Sendable]]:
    async def handler(ask: Ask) -> Sendable:
        raise Trouble(Kind.NOT_FOUND, f"{ask.method} {ask.path} is not served here", instead)

    return handler
