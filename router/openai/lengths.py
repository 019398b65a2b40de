"""How long an answer may become: what a call asks for, and the most that its tenant's policy lets one have."""

from typing import Any

from ..api import Api
from .bodies import COMPLETION_TOKENS_DEFAULT, TOKENS_MAX
from .fields import Fields, bad

NAMES = {Api.CHAT: ("max_completion_tokens", "max_tokens"), Api.COMPLETION: ("max_tokens",)}
GIVEN = "max_tokens"
"""The name under which a call is given the policy's most: the older one. Who does not know it refuses it; who does not know
the newer one leaves it out of account, and there would be no limit."""
ANSWERS = ("n", "best_of")


def completion_tokens(api: Api, fields: Fields, cap: int | None) -> int | None:
    """Return the most tokens that a body's answers may have together; None where it does not say.

    With a `cap`, one answer may have no more: a body that names no most is given it. Raises Trouble(BAD_REQUEST) for one
    that asks for more.
    """
    if api not in NAMES:
        return None
    asked = [name for name in NAMES[api] if fields.value.get(name) is not None]
    if cap is not None:
        for name in asked:
            wanted = fields.whole(name, 1, TOKENS_MAX)
            if wanted is not None and wanted > cap:
                said = f"{name} is {wanted}, and this tenant's policy lets an answer have {cap} tokens"
                raise bad(name, said, f"send at most {cap}", "invalid_value")
        if not asked:
            fields.value[GIVEN] = cap if api is Api.CHAT else min(cap, COMPLETION_TOKENS_DEFAULT)
            asked = [GIVEN]
    most = max((_count(fields.value[name]) for name in asked), default=0)
    if not most and api is Api.COMPLETION:
        most = COMPLETION_TOKENS_DEFAULT
    return most * _answers(fields.value) if most else None


def _answers(body: dict[str, Any]) -> int:
    """Return how many answers a body asks for: to each of its prompts, as many as it says."""
    found = body.get("prompt")
    prompts = found if isinstance(found, list) and found and isinstance(found[0], str | list) else [found]
    return max(1, *(_count(body.get(name)) for name in ANSWERS)) * len(prompts)


def _count(value: Any) -> int:
    """Return a number of at least one; 0 for what is none. Whoever runs the call says what is wrong with it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= TOKENS_MAX:
        return 0
    return int(value)
