"""What placement reads of an OpenAI call's body: the model, whether it streams, and what `infercast` says beside it.

The rest is for the model's host, or for the upstream that speaks OpenAI itself. What goes on is written anew from what
was read: a name that stands twice cannot mean one thing to the policy and another to whoever runs the call.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infercast.policies.faults import did_you_mean

from ..api import Api
from .fields import Fields, bad, read_object, written
from .lengths import completion_tokens

OURS = "infercast"
KNOWN = ("class", "deadline_ms", "id")
CLASSES_MAX = 64
DEADLINE_MS_MAX = 600_000
NAME_CHARS_MAX = 256
ID_CHARS_MAX = 128


@dataclass(frozen=True, slots=True)
class Envelope:
    """A call as far as its placement needs it. `body` is the API's own JSON, without our part."""

    body: bytes
    model: str
    stream: bool = False
    classes: tuple[str, ...] = ()
    deadline_ms: float | None = None
    id: str | None = None
    tokens_max: int | None = None
    """The most tokens that all of its answers may have together; None where the body does not say."""


Caps = Callable[[str], int | None]
"""The most tokens that an answer of a model may have by its tenant's policy; None for no such limit."""


def no_cap(model: str) -> int | None:
    """Return None: no policy binds."""
    return None


def read_envelope(api: Api, body: bytes, caps: Caps = no_cap) -> Envelope:
    """Read a call's body, and see to it that no answer has more tokens than its `caps` say.

    Raises Trouble(BAD_REQUEST) with the field that is wrong.
    """
    value = read_object(body)
    fields = Fields(value)
    model = fields.text("model")
    if not model:
        raise fields.missing("model", "name one of GET /v1/models")
    if len(model) > NAME_CHARS_MAX:
        raise bad("model", f"model has {len(model)} characters", f"at most {NAME_CHARS_MAX}", "invalid_value")
    stream = fields.truth("stream")
    if stream and api is Api.EMBEDDING:
        raise bad("stream", "embeddings are not streamed", "leave stream out", "unsupported_parameter")
    ours = fields.part(OURS)
    value.pop(OURS, None)
    classes, deadline_ms, call_id = _ours(ours) if ours is not None else ((), None, None)
    tokens_max = completion_tokens(api, fields, caps(model))
    return Envelope(written(value), model, stream, classes, deadline_ms, call_id, tokens_max)


def _ours(fields: Fields) -> tuple[tuple[str, ...], float | None, str | None]:
    for name in fields.value:
        if name not in KNOWN:
            path = fields.path(name)
            raise bad(path, f"{path} is not known", did_you_mean(name, KNOWN), "unknown_parameter")
    deadline_ms = fields.number("deadline_ms", 0, DEADLINE_MS_MAX)
    if deadline_ms == 0:
        raise fields.beyond("deadline_ms", f"a number of milliseconds up to {DEADLINE_MS_MAX}")
    call_id = fields.text("id")
    if call_id is not None and not (0 < len(call_id) <= ID_CHARS_MAX and call_id.isascii() and call_id.isprintable()):
        raise fields.beyond("id", f"1 to {ID_CHARS_MAX} printable ASCII characters")
    return _classes(fields), deadline_ms, call_id


def _classes(fields: Fields) -> tuple[str, ...]:
    """Return the data classes named: one, several in a list, or several with commas between, as the header has them."""
    named: Any = fields.value.get("class")
    if isinstance(named, list):
        if len(named) > CLASSES_MAX or not all(isinstance(name, str) for name in named):
            raise fields.wrong("class", f"a class, or a list of at most {CLASSES_MAX}")
        words = named
    else:
        words = (fields.text("class") or "").split(",")
    return tuple(sorted({word.strip() for word in words if word.strip()}))
