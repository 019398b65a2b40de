"""The ingress of one place, as an ASGI application: Open Inference Protocol v2, and `/v1` for decisions.

The order of an infer call: key, metadata from headers, decision, and only then the body.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from infercast.policies.documents import dotted
from infercast.policies.engine import Unknown
from infercast.policies.faults import did_you_mean
from infercast.policies.model import PAYLOAD_BYTES_MAX, Request
from infercast.policies.record import as_json, summary
from infercast.policies.units import us_from_ms

from .. import VERSION
from ..conduct.caller import Answered, Caller
from ..conduct.ports import Journal
from ..errors import Gone, Kind, Trouble
from ..keys import Key, Keys
from .answers import reply_of
from .http import BODY_BYTES_MAX, Ask, Receive, Reply, Scope, Send

log = logging.getLogger("infercast.ingress")
DECIDE_BYTES_MAX = 64 * 1024
DEADLINE_MS_MAX = 600_000
Signals = Callable[[], list[dict[str, Any]]]


class Ingress:
    """Answers HTTP for one entry. `signals` gives what devices may know of the fleet's load."""

    def __init__(self, caller: Caller, keys: Keys, journal: Journal, signals: Signals, emulated: bool) -> None:
        self._caller = caller
        self.keys = keys
        self._journal = journal
        self._signals = signals
        self._emulated = emulated
        self._fixed: dict[tuple[str, str], Callable[[Ask], Awaitable[Reply]]] = {
            ("GET", "/v2"): self._server,
            ("GET", "/v2/health/live"): self._alive,
            ("GET", "/v2/health/ready"): self._alive,
            ("POST", "/v1/decide"): self._decide,
            ("GET", "/v1/signals"): self._show_signals,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path = scope["path"].removeprefix(scope.get("root_path", "")).rstrip("/") or "/"
        ask = Ask(scope["method"], path, _joined(scope["headers"]), receive)
        reply = await self._reply(ask)
        if reply is not None:
            await reply.send(send)

    async def _reply(self, ask: Ask) -> Reply | None:
        try:
            return await self._route(ask)
        except Trouble as trouble:
            return reply_of(trouble)
        except Gone:
            return None
        except asyncio.CancelledError:
            raise
        except Exception:
            # The last line of defence of a server: one call's fault must not end the others. It is logged and told.
            log.exception("fault while answering %s %s", ask.method, ask.path)
            return reply_of(Trouble(Kind.FAULT, "this is our fault, and logged", "repeat the call"))

    async def _route(self, ask: Ask) -> Reply:
        fixed = self._fixed.get((ask.method, ask.path))
        if fixed is not None:
            return await fixed(ask)
        parts = ask.path.split("/")
        if parts[:3] == ["", "v2", "models"] and len(parts) > 3:
            model, action = parts[3], "/".join(parts[4:])
            if ask.method == "POST" and action == "infer":
                return await self._infer(ask, model)
            if ask.method == "GET" and action in ("", "ready"):
                return self._model(ask, model, action)
        remedy = did_you_mean(ask.path, [path for _, path in self._fixed])
        raise Trouble(Kind.NOT_FOUND, f"{ask.method} {ask.path} is not served here", remedy)

    def _key(self, ask: Ask) -> Key:
        given = ask.header("authorization") or ""
        scheme, _, secret = given.partition(" ")
        key = self.keys.find(secret.strip()) if scheme.lower() == "bearer" else None
        if key is None or key.tenant not in self._caller.engine.policies:
            raise Trouble(Kind.UNAUTHENTICATED, "no valid key", "send `Authorization: Bearer KEY`")
        return key

    def _request(
        self, key: Key, model: str, named: str | None, deadline_ms: Any, payload_bytes: int, call_id: str
    ) -> Request:
        classes = {*key.classes, *(word.strip() for word in (named or "").split(",") if word.strip())}
        return Request(
            id=call_id,
            tenant=key.tenant,
            model=model,
            entry=self._caller.entry,
            origin=key.origin or self._caller.entry,
            classes=tuple(sorted(classes)),
            payload_bytes=payload_bytes,
            deadline_us=_deadline_us(deadline_ms),
            at_s=_now_s(),
        )

    async def _infer(self, ask: Ask, model: str) -> Reply:
        key = self._key(ask)
        call_id = ask.header("infercast-id") or secrets.token_hex(8)
        named, deadline_ms = ask.header("infercast-class"), ask.header("infercast-deadline-ms")
        declared = ask.length() or 0
        if declared > BODY_BYTES_MAX:
            raise Trouble(Kind.TOO_LARGE, f"the body has {declared} bytes", f"at most {BODY_BYTES_MAX}")
        request = self._request(key, model, named, deadline_ms, declared, call_id[:128])
        header_bytes = ask.length("inference-header-content-length")

        async def read_body() -> tuple[bytes, int | None]:
            return await ask.body(), header_bytes

        try:
            answered = await self._caller.call(request, read_body)
        finally:
            # What this ingress took in of the payload, also of calls that it refused: the record of law 9.
            self._journal.write(
                "received",
                role="ingress",
                request=request.id,
                tenant=key.tenant,
                model=model,
                origin=request.origin,
                classes=list(request.classes),
                payload_bytes=ask.read_bytes,
            )
        return self._answer(answered, request)

    def _answer(self, answered: Answered, request: Request) -> Reply:
        answer = answered.answer
        headers = [
            (b"content-type", b"application/octet-stream" if answer.header_bytes is not None else b"application/json"),
            (b"infercast-site", answer.site.encode()),
            (b"infercast-at-site-ms", f"{answer.at_site_us / 1000:.3f}".encode()),
            (b"infercast-variant", answer.variant.encode()),
            (b"infercast-tier", answered.tier.encode()),
            (b"infercast-decision", answered.decision_id.encode()),
            (b"infercast-id", request.id.encode("latin-1", "replace")),
            (b"infercast-attempts", str(answered.attempts).encode()),
            (b"infercast-cost-usd", f"{answered.cost_usd:.9f}".encode()),
        ]
        if answer.header_bytes is not None:
            headers.append((b"inference-header-content-length", str(answer.header_bytes).encode()))
        if self._emulated:
            headers.append((b"infercast-emulated-ms", f"{answer.emulated_us / 1000:.3f}".encode()))
        return Reply(200, answer.body, tuple(headers))

    async def _decide(self, ask: Ask) -> Reply:
        """Decide from metadata alone, and say everything; no payload is taken."""
        key = self._key(ask)
        asked = _object(await ask.body(DECIDE_BYTES_MAX))
        known = {"model": str, "class": str, "deadline_ms": (int, float), "payload_bytes": int, "id": str}
        for field, value in asked.items():
            if field not in known:
                raise Trouble(Kind.BAD_REQUEST, f"unknown key {dotted((field,))!r}", did_you_mean(field, known))
            if not isinstance(value, known[field]) or isinstance(value, bool):  # type: ignore[arg-type]
                raise Trouble(Kind.BAD_REQUEST, f"{field} is {value!r}", "see docs/http.md")
        if "model" not in asked:
            raise Trouble(Kind.BAD_REQUEST, "the key 'model' is missing", "name the model")
        payload_bytes = asked.get("payload_bytes", 0)
        if not 0 <= payload_bytes <= PAYLOAD_BYTES_MAX:
            raise Trouble(Kind.BAD_REQUEST, f"payload_bytes is {payload_bytes}", "send a byte count")
        call_id = asked.get("id") or secrets.token_hex(8)
        request = self._request(
            key, asked["model"], asked.get("class"), asked.get("deadline_ms"), payload_bytes, call_id
        )
        try:
            decision = self._caller.engine.explain(request, self._caller.snapshot)
        except Unknown as error:
            kind = Kind.NOT_FOUND if error.field == "model" else Kind.BAD_REQUEST
            raise Trouble(
                kind, f"no {error.field} is called {error.value!r}", did_you_mean(error.value, error.known)
            ) from error
        record = {**as_json(decision), "summary": summary(decision)}
        for verdict in record["verdicts"]:
            del verdict["signals"]["in_flight"]  # It counts other tenants' calls, too.
        return Reply.json(record, infercast_decision=decision.id)

    def _model(self, ask: Ask, model: str, action: str) -> Reply:
        key = self._key(ask)
        engine = self._caller.engine
        if model not in (known := engine.models_of(key.tenant)):
            raise Trouble(Kind.NOT_FOUND, f"no model is called {model!r}", did_you_mean(model, known))
        if action == "ready":
            return Reply.json({"name": model, "ready": True})
        variants = [variant.id for variant in engine.fleet.model_by_id[model].variants]
        card = engine.fleet.cards[variants[0]]
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
        return Reply.json(
            {"live": True, "ready": True, "site": self._caller.entry, "emulated_distances": self._emulated}
        )

    async def _show_signals(self, ask: Ask) -> Reply:
        key = self._key(ask)
        told = self._signals()
        if key.origin not in self._caller.fleet.site_by_id:
            told = [{name: value for name, value in signal.items() if name != "in_flight"} for signal in told]
        return Reply.json({"site": self._caller.entry, "signals": told})


def _deadline_us(deadline_ms: Any) -> int:
    if deadline_ms is None:
        return 0
    try:
        value = float(deadline_ms)
    except ValueError:
        value = -1
    if not 0 < value <= DEADLINE_MS_MAX:
        raise Trouble(Kind.BAD_REQUEST, f"the deadline is {deadline_ms!r} ms", f"send a number up to {DEADLINE_MS_MAX}")
    return max(1, us_from_ms(value))


def _now_s() -> int:
    return int(time.time())


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Trouble(Kind.BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Trouble(Kind.BAD_REQUEST, "the body is not a JSON object")
    return value


def _joined(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the headers by name; one that stands several times is a list (RFC 9110, 5.3): none of it is dropped."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        found[name] = b", ".join([found[name], value]) if name in found else value
    return found


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
