"""Decisions without calls, and what a site knows of the fleet."""

import secrets
from collections.abc import Callable
from typing import Any

import orjson

from infercast.policies.documents import dotted
from infercast.policies.engine import Unknown
from infercast.policies.faults import did_you_mean
from infercast.policies.model import PAYLOAD_BYTES_MAX
from infercast.policies.record import as_json, summary

from ..conduct.troubles import unknown
from ..errors import Kind, Trouble
from .desk import Desk, classes_in
from .http import Ask, Reply
from .routes import Route

DECIDE_BYTES_MAX = 64 * 1024
Signals = Callable[[], list[dict[str, Any]]]
FIELDS = {"model": str, "class": str, "deadline_ms": (int, float), "payload_bytes": int, "id": str}


class Decisions:
    """`/v1/decide` and `/v1/signals`. `signals` gives what devices may know of the fleet's load."""

    def __init__(self, desk: Desk, signals: Signals) -> None:
        self._desk = desk
        self._signals = signals

    def routes(self) -> list[Route]:
        """Return what is served."""
        return [Route("POST", "/v1/decide", self._decide), Route("GET", "/v1/signals", self._show_signals)]

    async def _decide(self, ask: Ask) -> Reply:
        """Decide from metadata alone, and say everything; no payload is taken."""
        desk, caller = self._desk, self._desk.caller
        key = desk.key(ask)
        asked = _checked(await ask.small_body(DECIDE_BYTES_MAX))
        call_id = asked.get("id") or secrets.token_hex(8)
        request = desk.request(
            key,
            asked["model"],
            classes_in(asked.get("class")),
            asked.get("deadline_ms"),
            asked.get("payload_bytes", 0),
            call_id,
        )
        try:
            decision = caller.engine.explain(request, caller.snapshot)
        except Unknown as error:
            raise unknown(error) from error
        record = {**as_json(decision), "summary": summary(decision)}
        for verdict in record["verdicts"]:
            del verdict["signals"]["in_flight"]  # It counts other tenants' calls, too.
        return Reply.json(record, infercast_decision=decision.id)

    async def _show_signals(self, ask: Ask) -> Reply:
        caller = self._desk.caller
        key = self._desk.key(ask)
        told = self._signals()
        if key.origin not in caller.fleet.site_by_id:
            told = [{name: value for name, value in signal.items() if name != "in_flight"} for signal in told]
        return Reply.json({"site": caller.entry, "signals": told})


def _checked(body: bytes) -> dict[str, Any]:
    try:
        asked = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Trouble(Kind.BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise Trouble(Kind.BAD_REQUEST, "the body is not a JSON object")
    for field, value in asked.items():
        if field not in FIELDS:
            raise Trouble(Kind.BAD_REQUEST, f"unknown key {dotted((field,))!r}", did_you_mean(field, FIELDS))
        if not isinstance(value, FIELDS[field]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise Trouble(Kind.BAD_REQUEST, f"{field} is {value!r}", "see docs/http.md")
    if "model" not in asked:
        raise Trouble(Kind.BAD_REQUEST, "the key 'model' is missing", "name the model")
    payload_bytes = asked.get("payload_bytes", 0)
    if not 0 <= payload_bytes <= PAYLOAD_BYTES_MAX:
        raise Trouble(Kind.BAD_REQUEST, f"payload_bytes is {payload_bytes}", "send a byte count")
    return asked
