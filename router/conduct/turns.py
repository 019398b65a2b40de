"""Who goes next at a place that is full: a fair queue by tenant. No clock and no event loop in here.

Start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair Queueing", IEEE/ACM Transactions on Networking 5(5), 1997),
counted in calls: each call that begins moves its tenant on by 1/weight, and the tenant that is least far on goes next.
Over any time in which two tenants wait, what each got, over its weight, differs by no more than one call of each.

A place that is given up for another call is given up only at that call's end, so who comes rarely would wait for most of one
behind a flood. So the last free place is kept: a tenant that has its share or more leaves it to others that were here
lately and have less than theirs.
"""

from collections.abc import Iterator
from heapq import heappop, heappush

STEP = 1_000_000_000
"""How far one call moves a tenant of weight 1 on."""
LATELY_US = 5_000_000
"""Who called so recently may have the last free place kept for it."""
HOLD_GAIN = 8
"""A new holding time counts for one part in so many."""


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

    __slots__ = ("granted", "heap", "running", "seen_us", "start", "tenant", "waiting", "weight")

    def __init__(self, tenant: str) -> None:
        self.tenant = tenant
        self.weight = 1
        self.running = 0
        self.granted: list[Waiter] = []
        """Those of its calls that have had their turn, and have not taken the place yet."""
        self.waiting = 0
        self.seen_us = 0
        self.start = 0
        """Where it stands: the tag of its next call."""
        self.heap: list[tuple[int, int, Waiter]] = []

    @property
    def has(self) -> int:
        """How many places it has, or is about to take."""
        return self.running + len(self.granted)


class Place:
    """One deployment as one entry sees it.

    `room` is how many calls may be there at once, `share` how many of them are this entry's whatever others do.
    """

    __slots__ = ("_virtual", "held_us", "lines", "promised", "queue_max", "room", "running", "share", "waiting")

    def __init__(self, room: int, share: int, queue_max: int, held_us: int) -> None:
        self.room = room
        self.share = share
        self.queue_max = queue_max
        self.held_us = held_us
        """How long a call holds its place, of late."""
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
            line.start = self._virtual
        line.weight = weight
        line.seen_us = now_us
        return line

    def free(self, in_flight: int) -> int:
        """Return how many more calls may begin, with `in_flight` there of all entries together."""
        return max(self.room - in_flight, self.share - self.running) - self.promised

    def begin(self, line: Line) -> None:
        """Count a call that runs there from now on."""
        self.running += 1
        line.running += 1

    def end(self, line: Line, held_us: int) -> None:
        """Count it no more; it held its place for so long."""
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
        best: Line | None = None
        least = -1
        for line in self.lines.values():
            if not line.waiting:
                continue
            least = line.start if least < 0 else min(least, line.start)
            if (best is None or line.start < best.start) and self.may_have(line, free, now_us):
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
        """Return whether a tenant may have one of so many free places; the last is kept for who has less than its share."""
        if free > 1:
            return True
        if free < 1:
            return False
        if len(self.lines) == 1 or not line.has:
            return True
        here = [other for other in self.lines.values() if other is line or self._counts(other, now_us)]
        weights = sum(other.weight for other in here)
        if line.has * weights < line.weight * self.room:
            return True
        return all(other is line or other.has * weights >= other.weight * self.room for other in here)

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

    def wait_us(self, ahead: int) -> int:
        """Return how long it takes until so many calls have begun, and one more."""
        return (ahead + 1) * self.held_us // self.room

    def waiters(self) -> Iterator[Waiter]:
        """Yield all who wait."""
        for line in self.lines.values():
            yield from (waiter for _, _, waiter in sorted(line.heap) if not waiter.gone and not waiter.granted)

    def forget(self, now_us: int) -> None:
        """Forget tenants that have not been here lately, once they are no further on than all."""
        for tenant, line in list(self.lines.items()):
            if not self._counts(line, now_us) and (line.start <= self._virtual or not self.waiting):
                del self.lines[tenant]


def _first(line: Line) -> Waiter:
    """Take out the call of a line that came first."""
    while True:
        _, _, waiter = heappop(line.heap)
        if not waiter.gone:
            return waiter
