"""Shapes of OpenAI's calls and answers, as far as they are served here (docs/openai.md)."""

from ..openai import bodies
from ..openai.envelope import CLASSES_MAX, NAME_CHARS_MAX, OURS
from ..openai.parameters import CHAT, COMPLETION, EMBEDDING, HARMLESS, NEUTRAL, OF_OTHER_TURNS, OF_STREAMS
from .schemas import COUNT, DEADLINE_MS, ID, NUMBER, TEXT, TRUTH, Schema, listed, or_null, ref, shape

JSON_KIND = {str: "string", bool: "boolean", dict: "object"}
MODEL: Schema = {"type": "string", "minLength": 1, "maxLength": NAME_CHARS_MAX}
OBJECT: Schema = {"type": "object"}
NULL: Schema = {"type": "null"}
TOKENS_MAX: Schema = {"type": ["integer", "null"], "minimum": 1, "maximum": bodies.TOKENS_MAX}
TOKENS: Schema = listed({"type": "integer", "minimum": 0, "maximum": bodies.TOKEN_MAX}, minItems=1)
SAID: Schema = {"type": "string", "minLength": 1}
STOP: Schema = {"type": "string", "minLength": 1, "maxLength": bodies.STOP_CHARS_MAX}

PLACEMENT = or_null(
    shape(
        {},
        {
            "class": {"anyOf": [TEXT, NULL, listed(TEXT, maxItems=CLASSES_MAX)]},
            "deadline_ms": or_null(DEADLINE_MS),
            "id": or_null(ID),
        },
        closed=True,
    )
)


def _rest(known: tuple[str, ...]) -> dict[str, Schema]:
    """Return the shapes of parameters that are taken and change nothing."""
    kinds: dict[str, Schema] = {
        name: {"type": [JSON_KIND[HARMLESS[name]], "null"]} for name in known if name in HARMLESS
    }
    values: dict[str, Schema] = {name: {"enum": [*NEUTRAL[name], None]} for name in known if name in NEUTRAL}
    return {**kinds, **values}


WISHES: dict[str, Schema] = {
    "max_tokens": TOKENS_MAX,
    "temperature": {"type": ["number", "null"], "minimum": 0, "maximum": 2},
    "top_p": {"type": ["number", "null"], "minimum": 0, "maximum": 1},
    "stop": {"anyOf": [NULL, STOP, listed(STOP, maxItems=bodies.STOPS_MAX)]},
    "seed": {"type": ["integer", "null"], "minimum": -bodies.SEED_MAX, "maximum": bodies.SEED_MAX},
    "stream": or_null(TRUTH),
    "stream_options": or_null(shape({}, {"include_usage": or_null(TRUTH), **_rest(OF_STREAMS)}, closed=True)),
}
PART = shape({"type": {"enum": ["text"]}, "text": TEXT}, closed=True)


MESSAGE = shape(
    {
        "role": {"enum": list(bodies.ROLES)},
        "content": {"anyOf": [TEXT, listed(PART, minItems=1, maxItems=bodies.PARTS_MAX)]},
    },
    {"name": or_null(TEXT), **_rest(OF_OTHER_TURNS)},
    closed=True,
)


def _prompts(most: int) -> Schema:
    several = (listed(SAID, minItems=1, maxItems=most), TOKENS, listed(TOKENS, minItems=1, maxItems=most))
    return {"anyOf": [SAID, *several]}


def _call(needed: dict[str, Schema], read: dict[str, Schema], known: tuple[str, ...], *rules: Schema) -> Schema:
    found = shape({"model": MODEL, **needed}, {**read, **_rest(known), OURS: ref("Placement")}, closed=True)
    return {**found, "allOf": list(rules)} if rules else found


STREAM_ALONE: Schema = {
    "if": {"properties": {"stream_options": OBJECT}, "required": ["stream_options"]},
    "then": {"properties": {"stream": {"const": True}}, "required": ["stream"]},
}
"""`stream_options` goes with `stream` alone."""
WHOLE: Schema = {"type": "integer"}
ONE_LIMIT: Schema = {
    "not": {
        "properties": {"max_tokens": WHOLE, "max_completion_tokens": WHOLE},
        "required": ["max_tokens", "max_completion_tokens"],
    }
}
"""Of the two names of one limit, one."""


MESSAGES = listed(MESSAGE, minItems=1, maxItems=bodies.MESSAGES_MAX)
EMBEDDING_READ: dict[str, Schema] = {
    "encoding_format": {"enum": ["float", "base64", None]},
    "dimensions": {"type": ["integer", "null"], "minimum": 1},
}
USAGE = shape({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
SPOKEN = shape({"role": {"const": "assistant"}, "content": TEXT, "refusal": NULL})
PLACE = {"index": COUNT, "logprobs": NULL}
ENDED = {"finish_reason": {"enum": ["stop", "length"]}}


def _answer(kind: str, choice: dict[str, Schema]) -> Schema:
    head: dict[str, Schema] = {"id": TEXT, "object": {"const": kind}, "created": COUNT, "model": TEXT}
    return shape({**head, "choices": listed(shape({**PLACE, **ENDED, **choice})), "usage": ref("Usage")})


LISTED = shape(
    {"id": TEXT, "object": {"const": "model"}, "created": COUNT, "owned_by": TEXT, OURS: OBJECT},
)
OPENAI: dict[str, Schema] = {
    "OpenAIError": shape({
        "error": shape({
            "message": TEXT, "type": TEXT, "param": or_null(TEXT), "code": or_null(TEXT), OURS: ref("Facts"),
        })
    }),
    "Placement": {
        **PLACEMENT,
        "description": "What headers may say too; both only tighten. Data classes join, the shorter deadline counts.",
    },
    "ChatCall": _call({"messages": MESSAGES}, {"max_completion_tokens": TOKENS_MAX, **WISHES}, CHAT, STREAM_ALONE, ONE_LIMIT),
    "CompletionCall": _call({"prompt": _prompts(bodies.PROMPTS_MAX)}, WISHES, COMPLETION, STREAM_ALONE),
    "EmbeddingCall": _call({"input": _prompts(bodies.INPUTS_MAX)}, EMBEDDING_READ, EMBEDDING),
    "Usage": USAGE,
    "ChatAnswer": _answer("chat.completion", {"message": SPOKEN}),
    "CompletionAnswer": _answer("text_completion", {"text": TEXT}),
    "EmbeddingAnswer": shape({
        "object": {"const": "list"}, "model": TEXT,
        "data": listed(shape({
            "object": {"const": "embedding"}, "index": COUNT,
            "embedding": {"anyOf": [listed(NUMBER), {"type": "string", "contentEncoding": "base64"}]},
        })),
        "usage": shape({"prompt_tokens": COUNT, "total_tokens": COUNT}),
    }),
    "ListedModel": LISTED,
    "ListedModels": shape({"object": {"const": "list"}, "data": listed(ref("ListedModel"))}),
}  # fmt: skip
