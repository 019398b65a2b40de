"""What has to hold after trouble, between what callers saw, what the journals say, and what the ledger has booked."""

from infercast.policies.units import nusd
from tests.trouble.callers import Ended
from tests.trouble.rig import Raw, Rig

NO_ROOM = "the journal of"
"""How a call is answered that could not be written down, and so is not begun."""
Lines = dict[str, list[Raw]]


def call_lines(rig: Rig) -> Lines:
    """The journals' `call` lines, by the id that the caller gave."""
    lines: Lines = {}
    for line in rig.lines():
        lines.setdefault(line["request"], []).append(line)
    return lines


def wrong_endings(ended: list[Ended], lines: Lines) -> list[str]:
    """Calls that have not exactly one ending in the journals."""
    return [f"{end}: {len(lines.get(end.id, []))} lines" for end in ended if not _one(end, len(lines.get(end.id, [])))]


def _one(end: Ended, count: int) -> bool:
    if NO_ROOM in end.said:
        return (end.status, count) == (503, 0)
    # An entry that was killed with the call may have written nothing; one that answered has written.
    return count == 1 if end.ours else count <= 1


def told(ended: list[Ended]) -> list[Ended]:
    """Those whose answer says what they cost: streamed ones say beforehand what is foretold."""
    return [end for end in ended if end.ours and end.status == 200 and not end.streamed]


def wrong_costs(ended: list[Ended], lines: Lines) -> list[str]:
    """Calls whose answer says that they cost something else than the journal does."""
    pairs = [(end, lines[end.id][0]) for end in told(ended)]
    return [
        f"{end}: the journal says {line['cost_usd']}" for end, line in pairs if nusd(line["cost_usd"]) != end.cost_nusd
    ]
