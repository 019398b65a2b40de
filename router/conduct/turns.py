"""Who goes next at a place that is full: a fair queue by tenant. No clock and no event loop in here.

Start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queueing", IEEE/ACM Transactions on Networking 5(5), 1997),
counted in calls: each call that begins moves its tenant on by 1/weight, and the tenant that is least far on goes next.
Over any time in which two tenants wait, what each got, over its weight, differs by no more than one call of each.

A place that is given up for another call is given up only at that call's end, so who comes rarely would wait for most of one
behind a flood. So a tenant is *modest* that asks for no more than its share, now or on average of late. Who asks for more lets
those go first that are modest and wait, and leaves the last free places to more of them: as many as `kept_for` says (trunk
reservation: Key, "Optimal control and trunk reservation in loss networks", Probability in the Engineering and Informational Sciences
4, 1990). What a tenant asks for is what it has there and what waits: so a flood is not modest because it is made to wait, and
floods keep nothing free from each other. The theory and what came of it are in docs/trouble.md.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import NamedTuple

STEP = 1_000_000_000
"""How far one call moves a tenant of weight 1 on."""
LATELY_US = 5_000_000
"""Who called so recently may have places kept for it."""
HOLD_GAIN = 8
"""A new holding time counts for one part in so many."""
MEAN_HOLDS = 25
"""What a tenant asks for is averaged over so many holding times."""
FLOOD = 2
"""Who asks for so many times the room is not modest, whatever the average says. (That counts the room at most, so as to forget in time.)"""
LATE_PART, LATE_SHARE = 1 / 5, 1 / 20
"""No more than this share of modest calls should wait for longer than this part of a holding time."""


def kept_for(room: int, asked: float) -> int:
    """Return how many places of `room` are left free for tenants that ask for `asked` of them on average: one at least.

    Modest calls take the free places at the rate at which they come, and all that end give them back, so each further kept place
    is empty in `asked / room` of the cases in which the one before it was; then a call waits until the first of `room` ends,
    which is not within a part of a holding time with the chance (1 - part) ** room.
    """
    kept, late = 1, asked / room * (1 - LATE_PART) ** room
    while late > LATE_SHARE and kept < room:
        kept, late = kept + 1, late * asked / room
    return kept


class Waiter:
    """One call that waits for its turn: `number` says which of its tenant came first."""

    __slots__ = ("gone", "granted", "line", "number", "place")

    def __init__(self, number: int, place: "Place", line: "Line") -> None:
        self.number = number
        self.place = place
        self.line = line
        self.granted = False
        self.gone = False

    def wake(self) -> None:
        """Tell whoever waits that he is to decide again."""


class Line:
    """One tenant at one place: what it has running there from here, and who of it waits."""

    __slots__ = (
        "asked",
        "asked_us",
        "granted",
        "heap",
        "modest",
        "running",
        "seen_us",
        "start",
        "tenant",
        "waiting",
        "weight",
    )

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.weight = 1
        self.running = 0
        self.granted: list[Waiter] = []
        """Those of its calls that have had their turn, and have not taken the place yet."""
        self.waiting = 0
        self.seen_us = 0
        self.asked, self.asked_us = 0.0, 0
        """How many calls it had there or waiting on average, and when that was so."""
        self.modest = True
        """Whether it was, when the tenants' standing was looked at last."""
        self.start = 0
        """Where it stands: the tag of its next call."""
        self.heap: list[tuple[int, int, Waiter]] = []

    @property
    def has(self) -> int:
        """How many places it has, or is about to take."""
        return self.running + len(self.granted)


class Standing(NamedTuple):
    """How the tenants of a place stand to each other: of `places` that are this entry's now, each has its part of `weights`."""

    places: int
    weights: int
    first: int
    """Calls of modest tenants that wait: they go before others."""
    kept: int
    """Places that are left free for more of them."""


class Place:
    """One deployment as one entry sees it.

    `room` is how many calls may be there at once, `share` how many of them are this entry's whatever others do.
    """

    __slots__ = (
        "_virtual",
        "held_us",
        "kept",
        "lines",
        "may_keep",
        "promised",
        "queue_max",
        "room",
        "running",
        "share",
        "waiting",
    )

    def __init__(self, room: int, share: int, queue_max: int, held_us: int) -> None:
        self.room = room
        self.share = share
        self.queue_max = queue_max
        self.held_us = held_us
        """How long a call holds its place, of late."""
        self.kept = 0
        """How many places were to be left free when the tenants' standing was looked at last."""
        self.may_keep = 0
        """How many would have been, had somebody come who is not modest."""
        self.running = 0
        self.promised = 0
        self.waiting = 0
        self.lines: dict[str, Line] = {}
        self._virtual = 0

    def line(self, tenant: str, weight: int, now_us: int) -> Line:
        """Return a tenant's line, as of now."""
        line = self.lines.get(tenant)
        if line is None:
            line = self.lines[tenant] = Line(tenant)
            line.start, line.asked_us = self._virtual, now_us
            line.asked = float(self.room)  # who is not known yet is not trusted to ask for little
        line.weight = weight
        line.seen_us = now_us
        self.asked(line, now_us)
        return line

    def asked(self, line: Line, now_us: int) -> float:
        """Return how many calls a tenant has had there or waiting on average. Called before that changes, to take it in until now."""
        past_us, over_us = now_us - line.asked_us, MEAN_HOLDS * self.held_us
        if past_us > 0:
            asks = line.running + len(line.granted) + line.waiting
            more = min(asks, self.room) - line.asked
            line.asked += more if past_us > over_us else more * past_us / over_us
            line.asked_us = now_us
        return line.asked

    def free(self, in_flight: int) -> int:
        """Return how many more calls may begin, with `in_flight` there of all entries together."""
        return max(self.room - in_flight, self.share - self.running) - self.promised

    def has_plenty(self, free: int) -> bool:
        """Return whether so many free places are more than are kept, whoever comes."""
        return free > max(1, self.may_keep)

    def begin(self, line: Line) -> None:
        """Count a call that runs there from now on."""
        self.running += 1
        line.running += 1

    def end(self, line: Line, held_us: int, now_us: int) -> None:
        """Count it no more; it held its place for so long."""
        self.asked(line, now_us)
        self.running -= 1
        line.running -= 1
        self.held_us += (max(1, held_us) - self.held_us) // HOLD_GAIN

    def put(self, line: Line, waiter: Waiter) -> None:
        """Let a call wait; behind those of its tenant that came before it."""
        if not line.waiting:
            line.start = max(line.start, self._virtual)
        heappush(line.heap, (waiter.number, id(waiter), waiter))
        line.waiting += 1
        self.waiting += 1

    def remove(self, waiter: Waiter) -> None:
        """Let a call wait no more, whatever it was given."""
        if waiter.gone:
            return
        waiter.gone = True
        line = waiter.line
        if waiter.granted:
            self.promised -= 1
            line.granted.remove(waiter)
            return
        self.waiting -= 1
        line.waiting -= 1
        if not line.waiting:
            line.heap.clear()

    def next(self, free: int, now_us: int) -> Waiter | None:
        """Return whose turn it is, who has the place promised from now on; None where nobody may have it."""
        if free < 1 or not self.waiting:
            return None
        best: Line | None = None
        least = -1
        standing = self.stand(free, now_us)
        for line in self.lines.values():
            if not line.waiting:
                continue
            least = line.start if least < 0 else min(least, line.start)
            if (best is None or line.start < best.start) and _may(line, free, standing):
                best = line
        if best is None:
            return None
        self._virtual = max(self._virtual, least)
        waiter = _first(best)
        self.waiting -= 1
        best.waiting -= 1
        best.start += STEP // best.weight
        self.promised += 1
        best.granted.append(waiter)
        waiter.granted = True
        return waiter

    def may_have(self, line: Line, free: int, now_us: int) -> bool:
        """Return whether a tenant may have one of so many free places."""
        if free < 1:
            return False
        return len(self.lines) == 1 or not line.has or _may(line, free, self.stand(free, now_us, line))

    def stand(self, free: int, now_us: int, comes: Line | None = None) -> Standing:
        """Return how the tenants stand to each other that are here now or were lately, with so many free places."""
        places = max(1, self.running + self.promised + free)
        here = [(line, self.asked(line, now_us)) for line in self.lines.values() if self._counts(line, now_us)]
        weights = sum(line.weight for line, _ in here)
        modest, first, asked = 0, 0, 0.0
        for line, average in here:
            asks = line.has + line.waiting + (line is comes)
            is_known = average * weights < line.weight * places and asks < FLOOD * self.room
            line.modest = is_known or asks * weights <= line.weight * places
            if line.modest:
                modest += 1
                first += line.waiting
                asked += average if is_known else 0.0
        self.may_keep = kept_for(places, asked) if modest else 0
        self.kept = self.may_keep if modest < len(here) else 0
        return Standing(places, weights, first, self.kept)

    def _counts(self, line: Line, now_us: int) -> bool:
        return line.has > 0 or line.waiting > 0 or now_us - line.seen_us <= LATELY_US

    def before(self, line: Line, number: int) -> int:
        """Return how many of a tenant's calls wait before the one with this number."""
        return sum(other < number and not one.gone and not one.granted for other, _, one in line.heap)

    def ahead(self, line: Line, free: int, now_us: int, before: int | None = None) -> int:
        """Return how many of the calls that wait will have begun before one more of this tenant's, with `before` of it first."""
        waiting = line.waiting if before is None else before
        if not self.waiting or (not waiting and self.may_have(line, free, now_us)):
            return 0
        turns = waiting + 1
        others = (
            min(other.waiting, -(-turns * other.weight // line.weight))
            for other in self.lines.values()
            if other is not line and other.waiting
        )
        return waiting + sum(others)

    def wait_us(self, ahead: int, line: Line | None = None) -> int:
        """Return how long it takes until so many calls have begun, and one more of that tenant's."""
        places = self.room if line is None or line.modest else max(1, self.room - self.kept)
        return (ahead + 1) * self.held_us // places

    def waiters(self) -> Iterator[Waiter]:
        """Yield all who wait."""
        for line in self.lines.values():
            yield from (waiter for _, _, waiter in sorted(line.heap) if not waiter.gone and not waiter.granted)

    def forget(self, now_us: int) -> None:
        """Forget tenants that have not been here lately, once they are no further on than all."""
        for tenant, line in list(self.lines.items()):
            if not self._counts(line, now_us) and (line.start <= self._virtual or not self.waiting):
                del self.lines[tenant]


def _may(line: Line, free: int, standing: Standing) -> bool:
    """Return whether a tenant may have one of so many free places, as things stand."""
    if not line.has or line.modest:
        return True
    # Who has less than its share leaves one place, not more: bursts of the modest cost a flood one place of its share at most.
    lacks = line.has * standing.weights < line.weight * standing.places
    return free - standing.first > (min(1, standing.kept) if lacks else standing.kept)


def _first(line: Line) -> Waiter:
    """Take out the call of a line that came first."""
    while True:
        _, _, waiter = heappop(line.heap)
        if not waiter.gone:
            return waiter
