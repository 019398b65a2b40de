"""Calls that wait for their turn at a place that is full, and what of them counts in decisions.

A call waits at its entry, when its choice has no free place; only its metadata is needed for that. When its turn comes it is
decided again, on the newest signals and policies and for the time that is left: it may go there, elsewhere, or nowhere. Who
waits is counted in the decisions of its own tenant's calls as in flight: so they go elsewhere, or are refused, once their
turn would come too late. Others' calls see no more of a flood than their own turn has to wait for.
"""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from infercast.policies import kernel
from infercast.policies.fleet import Deployment
from infercast.policies.model import Hosting, Request
from infercast.policies.units import US_PER_S

from ..errors import Kind, Trouble
from ..runtime.host import INLINE_P95_MAX_MS, Answer
from ..streams import Watched
from . import clock
from .ports import Carried, Runner
from .turns import Line, Place, Waiter

if TYPE_CHECKING:
    from .deciding import Deciding
    from .endings import Carrying

IN_HAND_US = 1_000
"""A place is given again this long after its call ended, at most: as many calls as end meanwhile may be there beyond its slots."""


class Waits(Waiter):
    """A call that waits, and what wakes it."""

    __slots__ = ("index", "woken")

    def __init__(self, number: int, place: Place, line: Line, index: int) -> None:
        super().__init__(number, place, line)
        self.index = index
        self.woken: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let it decide again."""
        if self.woken is not None and not self.woken.done():
            self.woken.set_result(None)


def slots_of(deployment: Deployment) -> int:
    """Return how many calls a deployment is given at once, its way there aside."""
    if deployment.hosted is Hosting.UPSTREAM and "concurrency" not in deployment.model_fields_set:
        return deployment.queue_max  # nobody has said how many it runs at once: it has a queue of its own
    slots = deployment.replicas * deployment.concurrency
    # A batch gathers while the one before it runs.
    return slots + deployment.replicas * deployment.batch_max if deployment.batch_max > 1 else slots


class Turns:
    """The turns of one entry's calls, at every deployment that it sends calls to."""

    def __init__(self, deciding: "Deciding") -> None:
        self._deciding = deciding
        self._numbers = count()
        self._fleet = deciding.fleet
        served = {site.id for site in self._fleet.served}
        shared = served | {site.id for site in self._fleet.sites if site.upstream is not None}
        self._entries = [len(served) if deployment.site in shared else 1 for deployment in self._fleet.deployments]
        self._places = [self._place(index) for index in range(len(self._fleet.deployments))]
        self._full: set[int] = set()
        """Where somebody waits, or has been promised a place and is not there yet."""
        self._shared: set[int] = set()
        """Where several tenants are or were lately, so that places may be kept from some of them."""
        self.changes = 0
        """How often that has changed."""
        self.sheds = [0] * len(self._places)
        """At each deployment: calls, or further tries of them, that could not have had their turn in time."""
        self.asks: Waits | None = None
        """Whose decision is being made, where that call waits or has been promised a place: it does not stand before itself."""
        deciding.turns = self

    def _place(self, index: int) -> Place | None:
        """Return a deployment's place; None for what runs at once where it is asked for, so that nobody ever waits."""
        deployment, fleet = self._fleet.deployments[index], self._fleet
        if deployment.hosted is Hosting.IN_WORKER and fleet.service_ms(deployment).p95 <= INLINE_P95_MAX_MS:
            return None
        room = self._room(index)
        return Place(room, self._share(index, room), deployment.queue_max, self._p50_us(index))

    def _p50_us(self, index: int) -> int:
        return max(1, int(self._deciding.snapshot.live[index, kernel.L_P50_US]))

    def _room(self, index: int) -> int:
        """Return how many calls may be at a deployment at once: those that run, and those that are on their way meanwhile."""
        deployment = self._fleet.deployments[index]
        slots = slots_of(deployment)
        if slots >= deployment.queue_max:
            return deployment.queue_max
        snapshot, entry = self._deciding.snapshot, self._deciding.entry
        way_us = int(snapshot.rtt(entry)[self._fleet.tables.site_index[deployment.site], kernel.R_P50_US])
        p50_us = self._p50_us(index)
        under_way = (slots * (way_us + IN_HAND_US) + p50_us // 2) // p50_us
        return min(slots + under_way, deployment.queue_max)

    def _share(self, index: int, room: int) -> int:
        """Return how many calls this entry may have there whatever it hears of others: what it hears is old, and its own wait."""
        return max(1, room // max(1, self._entries[index]))

    def turn(self, index: int, carrying: "Carrying", left_us: int) -> Waits | None:
        """Return None where a call may go to a deployment now; else what it is to `wait` for, and then to decide again.

        Raises Trouble(SATURATED) where it cannot have its turn in the time that is left.
        """
        place, waits = self._places[index], carrying.turn
        if waits is not None:
            if waits.granted and waits.index == index:
                return None
            self.leave(carrying)
        if place is None:
            return None
        free = place.free(int(self._deciding.snapshot.live[index, kernel.L_IN_FLIGHT]))
        if place.has_plenty(free) and not place.waiting:
            return None
        return self._queue(index, place, free, carrying, left_us)

    def is_free(self, index: int, tenant: str) -> bool:
        """Return whether a call of a tenant may go to a deployment now, before none that waits."""
        place = self._places[index]
        if place is None:
            return True
        free = place.free(int(self._deciding.snapshot.live[index, kernel.L_IN_FLIGHT]))
        now_us = clock.now_us()
        return not place.waiting and place.may_have(self._line(index, place, tenant, now_us), free, now_us)

    def has(self, index: int, carrying: "Carrying") -> bool:
        """Return whether a call may still go to a deployment: by a promise, or since there is room and nobody waits."""
        waits = carrying.turn
        return (waits is not None and waits.granted and waits.index == index) or self.is_free(
            index, carrying.request.tenant
        )

    def _queue(self, index: int, place: Place, free: int, carrying: "Carrying", left_us: int) -> Waits | None:
        request, now_us = carrying.request, clock.now_us()
        line = self._line(index, place, request.tenant, now_us)
        may = place.may_have(line, free, now_us)
        if may and not place.waiting:
            return None
        number = carrying.turn_number  # of a call that is decided again: its place in the queue stays its own
        before = place.before(line, number) if number >= 0 else None
        wait_us = place.wait_us(place.ahead(line, free, now_us, before), line)
        if not may and (wait_us > left_us or line.waiting >= place.queue_max):
            raise self._shed(index, wait_us, f"its turn would come in {wait_us / 1000:.0f} ms")
        if carrying.turn_number < 0:
            carrying.turn_number = next(self._numbers)
        carrying.turn = waits = Waits(carrying.turn_number, place, line, index)
        self.changes += 1
        place.put(line, waits)
        self._full.add(index)
        self._give(index, place)
        if waits.granted:
            return None
        waits.woken = asyncio.get_running_loop().create_future()
        return waits

    async def wait(self, waits: Waits, carrying: "Carrying", left_us: int) -> None:
        """Wait for the turn. Raises Trouble(SATURATED) when the time that is left has passed before it came."""
        began_us = clock.now_us()
        try:
            if waits.woken is not None:
                async with asyncio.timeout(left_us / US_PER_S):
                    await waits.woken
        except TimeoutError:
            self.leave(carrying)
            said = f"its turn did not come in {left_us / 1000:.0f} ms"
            raise self._shed(waits.index, waits.place.wait_us(0), said) from None
        except BaseException:
            self.leave(carrying)
            raise
        finally:
            ended_us = clock.now_us()
            carrying.queued_us += ended_us - began_us
            carrying.waits = (*carrying.waits, (began_us, ended_us))

    def leave(self, carrying: "Carrying") -> None:
        """Let a call wait no more, and give away what it was promised; nothing where it neither waits nor has a promise."""
        waits, carrying.turn = carrying.turn, None
        if waits is None or waits.gone:
            return
        self.changes += 1
        waits.place.remove(waits)
        self._give(waits.index, waits.place)

    def shed(self, index: int, said: str) -> Trouble:
        """Return that a call is let go at its entry after it has waited."""
        place = self._places[index]
        return self._shed(index, place.held_us if place is not None else 0, said)

    def _shed(self, index: int, wait_us: int, said: str) -> Trouble:
        """Return that a call is let go at its entry, and when another may have its turn."""
        self.sheds[index] += 1
        retry_after_s = max(1, -(-wait_us // US_PER_S))
        message = f"{self._fleet.deployments[index].id} has no room, and {said}"
        return Trouble(
            Kind.SATURATED, message, f"repeat the call in {retry_after_s} s", {"retry_after_s": retry_after_s}
        )

    def run(
        self, runner: Runner, index: int, call: Carried, timeout_s: float, carrying: "Carrying"
    ) -> Coroutine[Any, Any, Answer]:
        """Run a call whose turn it is, and give its place to the next when it has ended, its stream included."""
        place = self._places[index]
        if place is None:
            return runner.run(index, call, timeout_s)
        return self._run(runner, index, place, call, timeout_s, carrying)

    async def _run(
        self, runner: Runner, index: int, place: Place, call: Carried, timeout_s: float, carrying: "Carrying"
    ) -> Answer:
        waits, began_us = carrying.turn, clock.now_us()
        line = self._line(index, place, call.request.tenant, began_us)
        if waits is not None and waits.granted and waits.index == index and not waits.gone:
            place.remove(waits)  # what was promised is taken: by the count of calls in flight, from here on
            carrying.turn = None
        place.begin(line)

        def end(_error: BaseException | None = None) -> None:
            now_us = clock.now_us()
            place.end(line, now_us - began_us, now_us)
            if index in self._full:
                self._give(index, place)

        try:
            answer = await runner.run(index, call, timeout_s)
        except BaseException:
            end()
            raise
        if answer.stream is None:
            end()
            return answer
        return replace(answer, stream=Watched(answer.stream, end))

    def _line(self, index: int, place: Place, tenant: str, now_us: int) -> Line:
        line = place.line(tenant, self._weight(tenant), now_us)
        if len(place.lines) > 1:
            self._shared.add(index)
        return line

    def _weight(self, tenant: str) -> int:
        policy = self._deciding.engine.policies.get(tenant)
        return (policy.limits.weight if policy is not None else None) or 1

    def _give(self, index: int, place: Place) -> None:
        """Give what is free to those whose turn it is."""
        live, now_us = self._deciding.snapshot.live, clock.now_us()
        while place.waiting:
            waiter = place.next(place.free(int(live[index, kernel.L_IN_FLIGHT])), now_us)
            if waiter is None:
                break
            self.changes += 1
            waiter.wake()
        if not place.waiting and not place.promised:
            self._full.discard(index)

    def heard(self) -> None:
        """Take in that signals have changed: places may have come free, or be gone."""
        live, now_us = self._deciding.snapshot.live, clock.now_us()
        for index, place in enumerate(self._places):
            if place is None:
                continue
            place.room = self._room(index)
            place.share = self._share(index, place.room)
            place.forget(now_us)
            if len(place.lines) < 2:
                self._shared.discard(index)
            kept = place.may_keep
            place.stand(place.free(int(live[index, kernel.L_IN_FLIGHT])), now_us)
            self.changes += place.may_keep != kept  # what was refused for kept places may have one now
            if not place.waiting:
                continue
            if live[index, kernel.L_HEALTHY]:
                self._give(index, place)
            else:
                self._wake(place)

    def wake_all(self) -> None:
        """Let all who wait decide again: the policies are others now."""
        for index in tuple(self._full):
            place = self._places[index]
            if place is not None:
                self._wake(place)

    def _wake(self, place: Place) -> None:
        for waiter in tuple(place.waiters()):
            waiter.wake()

    def waiting(self) -> Iterator[tuple[int, int]]:
        """Yield how many calls wait at each deployment where calls may have to."""
        for index, place in enumerate(self._places):
            if place is not None:
                yield index, place.waiting

    @property
    def any(self) -> bool:
        """Whether anybody waits anywhere."""
        return bool(self._full)

    @property
    def counts(self) -> bool:
        """Whether anything may count as in flight for some call beside what is."""
        return bool(self._full or self._shared)

    def ahead(self, request: Request) -> list[tuple[int, int, Place]]:
        """Return what counts as in flight for a call beside what is, by deployment: who goes before it."""
        found, now_us, asks = [], clock.now_us(), self.asks
        live, row_of = self._deciding.snapshot.live, self._fleet.tables.row_of(request.model)
        for index in self._full | self._shared:
            place = self._places[index]
            if place is None or index not in row_of:
                continue
            free = place.free(int(live[index, kernel.L_IN_FLIGHT]))
            if index not in self._full and (free < 1 or place.has_plenty(free)):
                continue
            line = place.lines.get(request.tenant) or self._stranger(request.tenant)
            before: int | None = None
            if asks is not None and asks.place is place and not asks.gone:
                if asks.granted:
                    continue  # it is this call's turn there: nobody goes before it
                before = place.before(line, asks.number)
            kept = 0 if free < 1 or place.may_have(line, free, now_us) else free  # to this call, those are taken
            if kept or index in self._full:
                found.append((index, place.promised + place.ahead(line, free, now_us, before) + kept, place))
        return found

    def _stranger(self, tenant: str) -> Line:
        line = Line(tenant)
        line.weight = self._weight(tenant)
        return line

    @contextmanager
    def counted(self, ahead: Sequence[tuple[int, int, Place]]) -> Iterator[None]:
        """Count who goes before a call as in flight, for the length of its decision: for that call, they are."""
        snapshot = self._deciding.snapshot
        before = snapshot.counted
        for index, calls, _ in ahead:
            snapshot.count(index, calls)
        snapshot.counted = before  # it follows from what is counted already
        try:
            yield
        finally:
            for index, calls, _ in ahead:
                snapshot.count(index, -calls)
            snapshot.counted = before

    def retry_after_s(self, request: Request) -> int:
        """Return when a call like one that found no room may have its turn, in whole seconds."""
        soonest_us = min((place.wait_us(ahead) for _, ahead, place in self.ahead(request)), default=0)
        return max(1, -(-soonest_us // US_PER_S))
