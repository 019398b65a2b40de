"""Bodies on their way to an upstream and back: its names in place of ours, and what was used. Bytes in, bytes out."""

import re
from dataclasses import dataclass
from typing import Any

import orjson

from ..api import Api, Usage
from ..errors import Kind, Trouble

OURS = "infercast"
"""The field of an OpenAI body that is meant for us: it goes no further."""

MODEL = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')
"""A field of this name, with its value, wherever it stands; within a text, quotes are written otherwise."""

USED_MAX = 1_000_000_000
"""No call uses more tokens: an upstream that says so has not counted, and its word would break every sum that it stands in."""


class BadAnswer(Exception):  # noqa: N818 - the upstream's doing
    """The upstream's answer is not what its API says."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A body for the upstream. `usage_asked`: whether the caller wants to see what was used, in a stream."""

    body: bytes
    usage_asked: bool = False


def renamed(body: bytes, model: str, api: Api, *, stream: bool) -> Outgoing:
    """Return an OpenAI body with the upstream's name for the model, and nothing of ours in it.

    A stream of text is asked to say at its end what was used. Raises Trouble(BAD_REQUEST) for what is no JSON object,
    or nested too deeply to be written again.
    """
    try:
        asked: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Trouble(Kind.BAD_REQUEST, f"the body is not JSON: {error}") from error
    if not isinstance(asked, dict):
        raise Trouble(Kind.BAD_REQUEST, "the body is not a JSON object")
    asked["model"] = model
    asked.pop(OURS, None)
    if api is Api.EMBEDDING:
        asked.pop("stream", None)
        return Outgoing(_written(asked))
    asked["stream"] = stream
    wanted = False
    if stream:
        options = asked.get("stream_options")
        options = options if isinstance(options, dict) else {}
        wanted = options.get("include_usage") is True
        asked["stream_options"] = {**options, "include_usage": True}
    else:
        asked.pop("stream_options", None)
    return Outgoing(_written(asked), wanted)


def _written(asked: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(asked)
    except orjson.JSONEncodeError as error:
        raise Trouble(Kind.BAD_REQUEST, "the body is nested too deeply") from error


def usage_in(answer: Any) -> Usage | None:
    """Return what an OpenAI answer says was used, where it does and that can be."""
    told = answer.get("usage")
    if not isinstance(told, dict):
        return None
    prompt, completion = told.get("prompt_tokens"), told.get("completion_tokens", 0)
    if type(prompt) is not int or type(completion) is not int:
        return None
    return Usage(prompt, completion) if 0 <= prompt <= USED_MAX and 0 <= completion <= USED_MAX else None


def object_in(body: bytes) -> dict[str, Any]:
    """Return a body that must be a JSON object. Raises BadAnswer."""
    try:
        value: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadAnswer("its answer is not JSON") from error
    if not isinstance(value, dict):
        raise BadAnswer("its answer is not a JSON object")
    return value


def under_our_name(body: bytes, answer: dict[str, Any], variant: str) -> bytes:
    """Return an OpenAI answer, or an event of one, that calls what ran by our name; `answer` is `body`, parsed.

    What stands in it besides goes on byte for byte: to write a list of vectors anew takes ten times as long as to look
    through it. Raises BadAnswer for one that must be written anew, and is nested too deeply for that.
    """
    theirs = answer.get("model")
    if not isinstance(theirs, str) or theirs == variant:
        return body
    found = list(MODEL.finditer(body))
    if len(found) == 1 and orjson.loads(found[0][1]) == theirs:
        begin, end = found[0].span(1)
        return b"%b%b%b" % (body[:begin], orjson.dumps(variant), body[end:])
    try:
        return orjson.dumps({**answer, "model": variant})
    except orjson.JSONEncodeError as error:
        raise BadAnswer("its answer is nested too deeply") from error


def ours_again(body: bytes, header_bytes: int | None, model: str, variant: str) -> tuple[bytes, int | None]:
    """Return an Open Inference Protocol answer that names our model and variant. Raises BadAnswer for what is none."""
    size = len(body) if header_bytes is None else header_bytes
    if not 0 <= size <= len(body):
        raise BadAnswer("its Inference-Header-Content-Length is not inside its answer")
    answer = object_in(body[:size])
    if not isinstance(answer.get("outputs"), list):
        raise BadAnswer("its answer has no outputs")
    answer["model_name"], answer["model_version"] = model, variant
    try:
        header = orjson.dumps(answer)
    except orjson.JSONEncodeError as error:
        raise BadAnswer("its answer is nested too deeply") from error
    if header_bytes is None:
        return header, None
    return header + body[size:], len(header)
