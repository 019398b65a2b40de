"""OpenAI's answers as bytes: whole ones, and the events of streamed ones (one JSON object each, without framing)."""

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from ..api import Api, Usage

OBJECTS = {Api.CHAT: "chat.completion", Api.COMPLETION: "text_completion"}
CHUNKS = {Api.CHAT: "chat.completion.chunk", Api.COMPLETION: "text_completion"}
PREFIXES = {Api.CHAT: "chatcmpl-", Api.COMPLETION: "cmpl-"}
Vectors = npt.NDArray[np.float32]


def usage_of(usage: Usage) -> dict[str, int]:
    """Return tokens in OpenAI's words."""
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


@dataclass(frozen=True, slots=True)
class Text:
    """One finished text, and why it ended: `stop` or `length`."""

    text: str
    finish: str


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes one call's answer. `model` is what answered: the variant."""

    api: Api
    model: str
    include_usage: bool = False
    """Of streams: whether a last event tells the tokens, and every other one that it does not yet."""
    id: str = field(default_factory=lambda: token_hex(12))
    created_s: int = field(default_factory=lambda: int(time.time()))

    def whole(self, texts: Sequence[Text], usage: Usage) -> bytes:
        """Return an answer in one piece."""
        choices = [self._whole_choice(index, text) for index, text in enumerate(texts)]
        return orjson.dumps({**self._head(OBJECTS[self.api]), "choices": choices, "usage": usage_of(usage)})

    def _whole_choice(self, index: int, text: Text) -> dict[str, Any]:
        end = {"index": index, "logprobs": None, "finish_reason": text.finish}
        if self.api is Api.CHAT:
            return {"message": {"role": "assistant", "content": text.text, "refusal": None}, **end}
        return {"text": text.text, **end}

    def opening(self) -> bytes:
        """Return a chat stream's first event, which says who speaks."""
        return self._event(0, {"delta": {"role": "assistant", "content": ""}}, None)

    def piece(self, text: str, index: int = 0) -> bytes:
        """Return an event with more text."""
        return self._event(index, {"delta": {"content": text}} if self.api is Api.CHAT else {"text": text}, None)

    def end(self, finish: str, index: int = 0) -> bytes:
        """Return the event that says why the text ended."""
        return self._event(index, {"delta": {}} if self.api is Api.CHAT else {"text": ""}, finish)

    def used(self, usage: Usage) -> bytes:
        """Return the event that tells the tokens."""
        return orjson.dumps({**self._head(CHUNKS[self.api]), "choices": [], "usage": usage_of(usage)})

    def _event(self, index: int, said: dict[str, Any], finish: str | None) -> bytes:
        choice = {"index": index, **said, "logprobs": None, "finish_reason": finish}
        event = {**self._head(CHUNKS[self.api]), "choices": [choice]}
        if self.include_usage:
            event["usage"] = None
        return orjson.dumps(event)

    def _head(self, kind: str) -> dict[str, Any]:
        return {
            "id": f"{PREFIXES[self.api]}{self.id}",
            "object": kind,
            "created": self.created_s,
            "model": self.model,
        }


def render_embeddings(model: str, vectors: Vectors, encoding: Literal["float", "base64"], usage: Usage) -> bytes:
    """Return an embedding's answer. `vectors` is [inputs, dimensions]; base64 holds little-endian float32, as OpenAI's."""
    rows = [_row(vector, encoding) for vector in np.ascontiguousarray(vectors, dtype="<f4")]
    data = [{"object": "embedding", "index": index, "embedding": row} for index, row in enumerate(rows)]
    used = {"prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens}
    answer = {"object": "list", "data": data, "model": model, "usage": used}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _row(vector: Vectors, encoding: str) -> Vectors | str:
    return base64.b64encode(vector.tobytes()).decode() if encoding == "base64" else vector
