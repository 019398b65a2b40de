"""Parameters of OpenAI's API beside those that are read: taken and without effect here, or refused by name.

One that would change the answer is never ignored: it is refused unless it says what is done anyway. One that nobody
knows is refused too, as OpenAI does. The names are those of OpenAI's public reference.
"""

from collections.abc import Mapping
from typing import Any

from infercast.policies.faults import did_you_mean

from .fields import Fields, bad

HARMLESS: Mapping[str, type] = {
    "user": str,
    "store": bool,
    "metadata": dict,
    "safety_identifier": str,
    "prompt_cache_key": str,
    "prompt_cache_retention": str,
    "prompt_cache_options": dict,
    "parallel_tool_calls": bool,
}
"""They change nothing in an answer: accepted where they are of their kind, and dropped. Nothing is stored, whatever `store` says."""

NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": (),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "moderation": (),
    "web_search_options": (),
    "reasoning_effort": ("none",),
    "verbosity": ("medium",),
    "service_tier": ("auto", "default"),
    "include_obfuscation": (False,),
    "refusal": (),
    "annotations": ([],),
    "tool_calls": ([],),
    "tool_call_id": (),
}
"""They would change an answer, and are not done here: accepted only with a value that asks for what is done anyway."""

BOTH = ("user", "metadata", "store", "safety_identifier", "prompt_cache_key")
OF_OTHER_TURNS = ("refusal", "annotations", "audio", "function_call", "tool_calls", "tool_call_id")
"""What a message may hold beside its text: an answer of OpenAI's client, sent back as it came, has all of it as null."""
OF_STREAMS = ("include_obfuscation",)
OF_COMPLETIONS = ("best_of", "echo", "suffix")
OF_MESSAGES = ("refusal", "annotations", "tool_calls", "tool_call_id")
CHAT = (*HARMLESS, *(name for name in NEUTRAL if name not in (*OF_COMPLETIONS, *OF_MESSAGES, *OF_STREAMS)))
COMPLETION = (
    *BOTH,
    "n",
    "best_of",
    "echo",
    "suffix",
    "logprobs",
    "logit_bias",
    "frequency_penalty",
    "presence_penalty",
)
EMBEDDING = BOTH


def check_rest(fields: Fields, read: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise Trouble for a field that is neither `read` nor one of those `known` with a value that changes nothing."""
    for name, value in fields.value.items():
        if name in read:
            continue
        path = fields.path(name)
        if name not in known:
            remedy = did_you_mean(name, (*read, *known))
            raise bad(path, f"{path} is not a parameter of this call", remedy, "unknown_parameter")
        if value is None:
            continue
        if name in HARMLESS:
            if not isinstance(value, HARMLESS[name]):
                raise fields.wrong(name, {str: "a string", bool: "true or false", dict: "an object"}[HARMLESS[name]])
        elif not _neutral(value, NEUTRAL[name]):
            same = " or ".join(_word(value) for value in NEUTRAL[name])
            remedy = f"leave it out, or send {same}" if same else "leave it out"
            raise bad(path, f"{path} is not supported here", remedy, "unsupported_parameter")


def _neutral(value: Any, neutral: tuple[Any, ...]) -> bool:
    """Whether a value asks for nothing; true is not 1, and 0.0 is 0."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in neutral)


def _word(value: Any) -> str:
    return {False: "false", True: "true"}[value] if isinstance(value, bool) else str(value).replace("'", '"')
