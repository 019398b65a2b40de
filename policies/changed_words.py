"""The words in which two policies differ, and which of them change no decision: neither put into the old, nor taken from the new.

Descriptions, claims and limits are never read by a decision. Other words may change none either: a country is denied that
no site stands in, a deadline is shortened that no candidate comes near. An author should know.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from .diff import PAYLOAD_BYTES, Decider, kinds_of
from .documents import Location, dotted
from .fleet import Fleet
from .model import Request
from .policy import Policy

JUDGED_MAX = 20
"""Most words of one tenant that are tried one by one; each takes two rounds over all kinds of call."""
MISSING = object()
UNREAD = ("description", "claims", "limits", "extends", "version")
"""What no decision reads."""


@dataclass(frozen=True, slots=True)
class Word:
    """One place of a policy file that differs. `matters` is None where it was not looked at alone."""

    tenant: str
    place: str
    old: Any
    new: Any
    matters: bool | None


def changed_words(fleet: Fleet, old: Policy, new: Policy) -> list[Word]:
    """Return the words in which two policies of a tenant differ. What stands on one side only is None on the other."""
    before, after = old.model_dump(mode="json"), new.model_dump(mode="json")
    places = list(_places(before, after, ()))
    judged = len(places) <= JUDGED_MAX
    judge = _judge(fleet, old, new)
    words = []
    for at, was, now in places:
        matters: bool | None = None
        if _unread(at) or old.digest == new.digest:
            matters = False
        elif judged:
            matters = judge(_with(before, at, now), old) or judge(_with(after, at, was), new)
        words.append(Word(old.tenant, dotted(at), _shown(was), _shown(now), matters))
    return words


def _shown(value: Any) -> Any:
    return None if value is MISSING else value


def _unread(at: Location) -> bool:
    return at[0] in UNREAD or at[-1] == "description"


def _places(old: Any, new: Any, at: Location) -> Iterator[tuple[Location, Any, Any]]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys((*old, *new)):
            yield from _places(old.get(key, MISSING), new.get(key, MISSING), (*at, key))
    elif _alike(old, new):
        for index, pair in enumerate(zip(old, new, strict=True)):
            yield from _places(*pair, (*at, index))
    elif old != new:
        yield at, old, new


def _alike(old: Any, new: Any) -> bool:
    """Return whether two values are lists of as many blocks, to be compared one by one."""
    lists = isinstance(old, list) and isinstance(new, list) and len(old) == len(new)
    return lists and all(isinstance(each, dict) for each in (*old, *new))


def _with(whole: dict[str, Any], at: Location, value: Any) -> dict[str, Any]:
    """Return a copy of a policy's values with another one at a place, or none."""
    return dict(_set(whole, at, value))


def _set(part: Any, at: Location, value: Any) -> Any:
    if not at:
        return value
    key = at[0]
    if isinstance(part, list):
        return [_set(each, at[1:], value) if index == key else each for index, each in enumerate(part)]
    rest = {name: each for name, each in part.items() if name != key}
    changed = _set(part.get(key, {}), at[1:], value)
    return rest if changed is MISSING else {**rest, key: changed}


def _judge(fleet: Fleet, old: Policy, new: Policy) -> Callable[[dict[str, Any], Policy], bool]:
    """Return a question: whether a policy of these values decides any kind of call otherwise than another policy."""
    requests: list[Request] = []
    known: dict[str, list[Any]] = {}

    def differs(values: dict[str, Any], from_: Policy) -> bool:
        try:
            policy = Policy.model_validate(values)
        except ValidationError:
            return True  # without its other half the word says nothing: they matter together
        if policy.digest == from_.digest:
            return False
        if not requests:
            requests.extend(kind.request("diff", PAYLOAD_BYTES) for kind in kinds_of(fleet, old, new))
        if from_.digest not in known:
            decider = Decider(fleet, {from_.tenant: from_})
            known[from_.digest] = [decider.side(request).taken for request in requests]
        decider = Decider(fleet, {policy.tenant: policy})
        pairs = zip(requests, known[from_.digest], strict=True)
        return any(decider.side(request).taken != taken for request, taken in pairs)

    return differs
