"""The vector of a question, made by the fleet's own embedding model at the place where the call has entered, or not at all.

It is a call of the tenant's and of the same classes: decided, counted, paid and written down as any other.
"""

import base64
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import orjson

from infercast.policies.fleet import Fleet

from ..api import Api
from ..conduct.endings import Answered
from ..conduct.ports import Carried, Lost, Received
from ..errors import Trouble
from .vectors import Vector

TIMEOUT_S = 0.5
"""An embedding that takes longer is not waited for: the call itself takes its turn."""
CHARS_MAX = 8192
"""Longer texts are not compared."""


class Beside(Protocol):
    """Carries a call on behalf of another (see `conduct.caller.Caller.beside`)."""

    def __call__(
        self, request: Any, received: Received, shut: Sequence[int], timeout_s: float
    ) -> Coroutine[Any, Any, Answered]:
        """Return its answer. Raises Trouble or Lost."""
        ...


@dataclass(frozen=True, slots=True)
class Embedded:
    """A vector of the length 1, and the variant that made it: others' vectors mean something else."""

    vector: Vector
    variant: str


class Embedding:
    """Makes vectors at one place. Nothing leaves it for that."""

    def __init__(self, entry: str, fleet: Fleet, beside: Beside) -> None:
        self._beside = beside
        deployments = enumerate(fleet.deployments)
        self._elsewhere = tuple(index for index, deployment in deployments if deployment.site != entry)
        self._here = {fleet.model_of[d.variant] for d in fleet.deployments if d.site == entry}

    async def embedded(self, call: Carried, model: str, text: str, within_s: float) -> Embedded | None:
        """Return the vector of a call's text; None where the policy, the fleet or a limit does not let it be made here now."""
        if model not in self._here or len(text) > CHARS_MAX:
            return None
        body = orjson.dumps({"model": model, "input": text, "encoding_format": "base64"})
        request = replace(
            call.request, id=f"{call.request.id}~similar", model=model, variant="", payload_bytes=len(body)
        )
        try:
            received, within_s = Received(body, api=Api.EMBEDDING), min(within_s, TIMEOUT_S)
            answered = await self._beside(request, received, self._elsewhere, within_s)
        except (Trouble, Lost):
            return None
        return _read(answered)


def _read(answered: Answered) -> Embedded | None:
    try:
        text = orjson.loads(answered.answer.body)["data"][0]["embedding"]
        vector: Vector = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
    except (orjson.JSONDecodeError, LookupError, TypeError, ValueError):
        return None
    length = float(np.linalg.norm(vector))
    return Embedded(vector / length, answered.answer.variant) if 0 < length < np.inf else None
