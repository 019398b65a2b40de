"""What a journal's lines mean to the ledger: the entries of calls that ended, and the reservations of calls that began."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson

from infercast.policies.units import nusd

from .periods import day_of
from .ports import Entry, Reserved, holder_of

SETTLED, ORPHANED = "settled", "orphaned"
WHOLE_MAX = 10**15
"""More than any cost (a million USD) or number of tokens. One line that says more must not take a database's sums past 2**63."""


NAME_CHARS_MAX = 256
"""More than any tenant's, model's or call's name. A database's indices take texts of some 2,700 bytes, and of longer ones nothing."""


@dataclass(slots=True)
class Taken:
    """What some lines come to. `writer` is the process that the last of them are of; lines that mean nothing are counted."""

    entries: list[Entry] = field(default_factory=list)
    reserved: list[Reserved] = field(default_factory=list)
    writer: str = ""
    unreadable: int = 0


def taken(lines: Iterable[bytes]) -> Taken:
    """Read journal lines. One that nobody can read is passed over: it must not hold up those behind it."""
    found = Taken()
    for line in lines:
        try:
            facts = orjson.loads(line)
            kind = facts["kind"]
            if kind == "call" and "number" in facts:
                found.entries += entries_of(facts)
            elif kind == "reserved":
                found.reserved.append(_reserved(facts))
            else:
                continue
            found.writer = holder_of(facts["number"])
        except (ValueError, TypeError, LookupError, AttributeError, OverflowError, OSError):
            found.unreadable += 1
    return found


def entries_of(line: dict[str, Any]) -> list[Entry]:
    """Return the entries of a `call` line. Raises ValueError, TypeError or KeyError for one that is none.

    Part 0 is how the call ended, with what its answer cost; then each other try that was paid for. None where the call
    came from another cluster, which settles it; a device settles only what ran on it, since each call that it sent on has a line
    at the ingress that it went to.
    """
    if not line.get("settled", True):
        return []
    ended_at = line["deployment"] or ""
    paid = [(str(deployment), _whole(cost)) for deployment, cost in _spent(line)]
    answer = next((at for at, (deployment, _) in enumerate(paid) if deployment == ended_at), None)
    cost_nusd = 0 if answer is None else paid.pop(answer)[1]
    tokens = [_whole(count) for count in line.get("tokens") or (0, 0)]
    whole = Entry(
        number=_name(line["number"]),
        part=0,
        at_s=_instant(line),
        tenant=_name(line["tenant"]),
        model=_text(line["model"])[:NAME_CHARS_MAX],  # a caller's word, where no such model is there
        entry=_name(line["entry"]),
        site=_site(ended_at),
        deployment=_name(ended_at),
        outcome=_name(line["outcome"]),
        state=SETTLED,
        cost_nusd=cost_nusd,
        prompt_tokens=tokens[0],
        completion_tokens=tokens[1],
        cached=bool(line.get("cached")),
    )
    more = [
        whole._replace(
            part=part, site=_site(deployment), deployment=_name(deployment), outcome="lost", cost_nusd=cost_nusd,
            prompt_tokens=0, completion_tokens=0, cached=False,
        )
        for part, (deployment, cost_nusd) in enumerate(paid, 1)
    ]  # fmt: skip
    if not line.get("device"):
        return [whole, *more]
    last = ended_at or (line["attempts"] or [""])[-1]
    ours = [whole] if not last or _site(last) == whole.entry else []
    return ours + [entry for entry in more if entry.site == whole.entry]


def orphan_of(reserved: Reserved) -> Entry:
    """Return the entry of a call whose process died before it ended: nobody knows what it cost, and its money is free again."""
    return Entry(
        reserved.number, 0, reserved.at_s, reserved.tenant, reserved.model, reserved.entry, "", "", "failed", ORPHANED, 0,
        reserved_nusd=reserved.reserved_nusd,
    )  # fmt: skip


def _spent(line: dict[str, Any]) -> list[tuple[str, int]]:
    """Return what was paid for, by deployment; older lines have one sum."""
    if "spent" in line:
        return [(deployment, cost_nusd) for deployment, cost_nusd in line["spent"]]
    return [(line["deployment"], nusd(line["cost_usd"]))] if line["deployment"] else []


def _reserved(line: dict[str, Any]) -> Reserved:
    return Reserved(
        number=_name(line["number"]),
        at_s=_instant(line),
        tenant=_name(line["tenant"]),
        model=_name(line["model"]),
        entry=_name(line["place"]),
        reserved_nusd=_whole(line["reserved_nusd"]),
    )


def _instant(line: dict[str, Any]) -> float:
    """Return when a call began. Raises ValueError or OverflowError where that is no day of any calendar."""
    at_s = float(line.get("at_s") or line["at"])
    day_of(at_s)
    return at_s


def _site(deployment: str) -> str:
    return _text(deployment.rpartition("@")[2])


def _text(value: object) -> str:
    """Return a text as every database takes it. Raises TypeError for what is none."""
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.replace("\x00", "\N{REPLACEMENT CHARACTER}")


def _name(value: object) -> str:
    """Return a text that is part of a key. Raises TypeError for what is none, ValueError for one that no index takes."""
    name = _text(value)
    if len(name) > NAME_CHARS_MAX:
        raise ValueError(f"a name of {len(name)} characters")
    return name


def _whole(value: object) -> int:
    if type(value) is not int:  # true and false are numbers to Python, and none to Postgres
        raise TypeError(f"{value!r} is no whole number")
    return max(0, min(value, WHOLE_MAX))
