"""What a call asks, as a digest: calls that mean the same have the same, whatever their bytes.

Digests are keyed by a secret of this process, so that one found in its memory says nothing of a question that is guessed.
"""

import json
import re
import secrets
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from ..api import Api
from ..conduct.ports import Carried
from ..errors import Trouble
from ..oip import blob_of, header_of, infer_of
from ..openai.fields import read_object
from ..runtime.session import DATATYPES

BODY_BYTES_MAX = 256 * 1024
"""Calls with larger bodies are not kept: to read one would hold up the others."""
DIGEST_BYTES = 16
WHOLE_MAX = 2**53
SECRET = secrets.token_bytes(32)
UNMEANT = (
    "model",
    "stream",
    "infercast",
    "user",
    "store",
    "metadata",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "prompt_cache_options",
)
"""Fields of OpenAI's calls that change nothing in an answer; the model and whether it streams are told apart elsewhere."""
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True, slots=True)
class Text:
    """The part of a question that another may differ in and still be similar.

    `rest` is a digest of all else that it says. Numbers are among that: questions that differ in one are not similar.
    """

    said: str
    rest: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """What a call asks. `id` is what an infer request names itself, and finds in its answer."""

    digest: bytes
    id: str = ""
    text: Text | None = None


def question_of(call: Carried, *, goes_on: bool = False) -> Question | None:
    """Return what a call asks; None for one that is too large, or that is not understood here.

    `goes_on` says that a call with tensors may be run by somebody else, as it came: one in which a name stands twice may
    mean something else there, and its answer would be given to who means what it says here.
    """
    if len(call.body) > BODY_BYTES_MAX:
        return None
    try:
        if call.api is not Api.INFER:
            return _openai(call)
        return None if goes_on and _has_twins(call.body[: call.header_bytes]) else _infer(call)
    except (Trouble, orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None  # whoever runs it says what is wrong with it


class _TwinError(ValueError):
    """A name stands twice in one object."""


def _has_twins(text: bytes) -> bool:
    """Return whether any object of a JSON text has a name twice. Texts that Python reads otherwise than orjson count as such."""
    try:
        json.loads(text, object_pairs_hook=_without_twins)
    except (ValueError, RecursionError):
        return True
    return False


def _without_twins(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _TwinError


def _digest(*parts: bytes) -> bytes:
    """Return a digest of parts: other parts, or the same ones cut elsewhere, have another."""
    found = blake2b(key=SECRET, digest_size=DIGEST_BYTES)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.digest()


def _infer(call: Carried) -> Question:
    """Tensors by name, with datatype, shape and the bytes of their values; then all else that is said, but for the id."""
    header = header_of(call.body, call.header_bytes)
    infer = infer_of(header, call.body, call.header_bytes)
    parts: list[bytes] = []
    for name in sorted(infer.inputs):
        value = infer.inputs[name]
        parts.append(orjson.dumps([name, DATATYPES[value.dtype], value.shape]))
        parts.append(blob_of(value))
    # What is not in the protocol may mean something to whoever runs the call.
    more = [
        _beside(header, ("id", "inputs", "outputs"), "binary_data_output"),
        {
            one["name"]: _beside(one, ("name", "shape", "datatype", "data"), "binary_data_size")
            for one in header["inputs"]
        },
        {one["name"]: _beside(one, ("name",), "binary_data") for one in header.get("outputs", ())},
    ]
    wanted = [infer.outputs, None if infer.binary is None else sorted(infer.binary), _spelt(more)]
    return Question(_digest(*parts, orjson.dumps(wanted, option=orjson.OPT_SORT_KEYS)), infer.id)


def _beside(of: dict[str, Any], read: tuple[str, ...], travels: str) -> dict[str, Any]:
    """Return what is said beside what was `read`, without the parameter that says how values travel, and without nothing."""
    found = {name: one for name, one in of.items() if name not in read}
    parameters = {name: one for name, one in found.pop("parameters", {}).items() if name != travels}
    return {**found, "parameters": parameters} if parameters else found


def _openai(call: Carried) -> Question:
    value = read_object(call.body)
    meant = {name: one for name, one in value.items() if one is not None and name not in UNMEANT}
    messages = meant.get("messages")
    if isinstance(messages, list):
        meant["messages"] = [_message(one) for one in messages]
    if isinstance(meant.get("stop"), str):
        meant["stop"] = [meant["stop"]]
    if not call.stream:
        meant.pop("stream_options", None)
    meant = _spelt(meant)
    written = orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)
    return Question(_digest(written), text=_text(call.api, meant))


def _message(value: Any) -> Any:
    return {name: one for name, one in value.items() if one is not None} if isinstance(value, dict) else value


def _spelt(value: Any) -> Any:
    """Return a JSON value with each number in one spelling: 1.0 is 1."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= WHOLE_MAX:
        return int(value)
    if isinstance(value, dict):
        return {name: _spelt(one) for name, one in value.items()}
    if isinstance(value, list) and set(map(type, value)) - {int, str}:
        return [_spelt(one) for one in value]
    return value


def _text(api: Api, meant: dict[str, Any]) -> Text | None:
    """Return the last message of a chat, or the one text that is to be embedded, apart from all else."""
    if api is Api.CHAT:
        messages = meant.get("messages") or [None]
        last = messages[-1] if isinstance(messages, list) else None
        if not isinstance(last, dict) or last.get("role") != "user" or not isinstance(last.get("content"), str):
            return None
        said = last["content"]
        rest = {**meant, "messages": [*messages[:-1], {**last, "content": ""}]}
    elif api is Api.EMBEDDING:
        given = meant.get("input")
        given = given[0] if isinstance(given, list) and len(given) == 1 else given
        if not isinstance(given, str):
            return None
        said, rest = given, {**meant, "input": ""}
    else:
        return None
    if not said.strip():
        return None
    numbers = orjson.dumps(sorted(NUMBER.findall(said)))
    return Text(said, _digest(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS), numbers))
