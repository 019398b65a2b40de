"""What happens at the deployments: calls arrive, wait, are served, and go; or are lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from infercast.policies.fleet import Deployment
from infercast.policies.units import LATENCY_MAX_US, PPM

from ..model import Ints, Truth
from ..shapes import ONE_BITS, point, service_purpose, shape_of
from .agenda import Agenda
from .calls import Try, Where


@dataclass(slots=True, eq=False)
class Batch:
    """Calls that one server serves at once, and until when."""

    tries: list[Try]
    began_us: int
    ends_us: int
    cut: bool = False
    """Whether its server died under it."""


@dataclass(slots=True, eq=False)
class Station:
    """One deployment as it truly is. `ready` counts replicas; `busy` lists what each batch took, `stood` what was ready."""

    index: int
    site: int
    card: Deployment
    truth: Truth
    marginal_ppm: int
    nusd_per_s: int
    call_nusd: int
    ready: int
    shape: Ints = field(init=False)
    queue: list[Try] = field(default_factory=list)
    running: list[Batch] = field(default_factory=list)
    busy: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.shape = shape_of(self.truth)

    @property
    def load(self) -> int:
        """Calls there, waiting or being served."""
        return len(self.queue) + sum(len(batch.tries) for batch in self.running)

    @property
    def servers(self) -> int:
        """How many batches may run at once."""
        return self.ready * self.card.concurrency

    def service_us(self, each: Try, slow_ppm: int) -> int:
        """Return what a call takes alone on a server."""
        drawn = int(self.shape[point(each.call.luck, service_purpose(each.number))])
        service_us = min((self.truth.p50_us * drawn) >> ONE_BITS, LATENCY_MAX_US)
        service_us = min(service_us * each.call.work_ppm // PPM, LATENCY_MAX_US)
        return max(1, min(service_us * slow_ppm // PPM, LATENCY_MAX_US))

    def batch_us(self, tries: Iterable[Try], slow_ppm: int) -> int:
        """Return what calls take together on a server."""
        alone_us = [self.service_us(each, slow_ppm) for each in tries]
        return min(max(alone_us) * (PPM + (len(alone_us) - 1) * self.marginal_ppm) // PPM, LATENCY_MAX_US)

    def take(self) -> list[Try]:
        """Return what a free server takes from the queue: first by priority, then first come first served."""
        self.queue.sort(key=lambda each: each.call.kind.priority)  # stable: calls are queued in the order they come
        taken, self.queue = self.queue[: self.card.batch_max], self.queue[self.card.batch_max :]
        return taken


class Around(Protocol):
    """What stations need to know of the world around them, and tell it."""

    def down(self, station: Station) -> bool:
        """Return whether a deployment, or all of its site, is down."""
        ...

    def slow_ppm(self, station: Station) -> int:
        """Return how slow its site is."""
        ...

    def counted(self, station: Station, calls: int) -> None:
        """Hear that its load has changed by so many calls."""
        ...

    def waited(self, each: Try, wait_us: int) -> None:
        """Hear what a try waited when it leaves the queue, however it does."""
        ...

    def spent(self, each: Try, compute_nusd: int) -> None:
        """Hear what a try's service has cost."""
        ...

    def served(self, station: Station, each: Try, service_us: int) -> None:
        """Hear that a try's service has ended which somebody still waits for."""
        ...


class Stations:
    """All deployments."""

    def __init__(self, agenda: Agenda, stations: list[Station], around: Around) -> None:
        self.all = stations
        self._agenda = agenda
        self._around = around

    def arrive(self, each: Try) -> None:
        """Let a call in: it takes a free server, or waits. It is lost at what is down."""
        station = self.all[each.deployment]
        if self._around.down(station):
            each.where = Where.NOWHERE
            return
        each.arrived_us = self._agenda.now_us
        each.where = Where.QUEUED
        station.queue.append(each)
        self._around.counted(station, 1)
        self.start(station)

    def start(self, station: Station) -> None:
        """Give what waits to servers that are free."""
        while station.queue and len(station.running) < station.servers:
            now_us = self._agenda.now_us
            tries = station.take()
            batch = Batch(tries, now_us, now_us + station.batch_us(tries, self._around.slow_ppm(station)))
            station.running.append(batch)
            for each in tries:
                each.where = Where.IN_SERVICE
                each.began_us = now_us
                self._around.waited(each, now_us - each.arrived_us)
            self._agenda.schedule(batch.ends_us, partial(self._finish, station, batch))

    def _finish(self, station: Station, batch: Batch) -> None:
        if batch.cut:
            return
        self._release(station, batch, batch.ends_us)
        for each in batch.tries:
            each.where = Where.DONE
        for each in batch.tries:
            if not each.given_up:
                self._around.served(station, each, batch.ends_us - batch.began_us)
        self.start(station)

    def _release(self, station: Station, batch: Batch, at_us: int) -> None:
        """Free a batch's server, and count what was spent on it until then; its calls share that."""
        station.running.remove(batch)
        station.busy.append((batch.began_us, at_us))
        self._around.counted(station, -len(batch.tries))
        share_us = (at_us - batch.began_us) // len(batch.tries)
        for each in batch.tries:
            self._around.spent(each, station.nusd_per_s * share_us // 1_000_000 + station.call_nusd)

    def leave(self, each: Try) -> None:
        """Let a call that is given up out of its queue. What is in service stays there to its end, for nothing."""
        if each.where is Where.QUEUED:
            station = self.all[each.deployment]
            station.queue.remove(each)
            self._unqueued(station, each)

    def _unqueued(self, station: Station, each: Try) -> None:
        each.where = Where.NOWHERE
        self._around.counted(station, -1)
        self._around.waited(each, self._agenda.now_us - each.arrived_us)

    def lose(self, station: Station) -> None:
        """Lose all calls that are there."""
        while station.queue:
            self._unqueued(station, station.queue.pop(0))
        while station.running:
            batch = station.running[0]
            batch.cut = True
            self._release(station, batch, self._agenda.now_us)
            for each in batch.tries:
                each.where = Where.NOWHERE

    def close(self) -> None:
        """Count what still runs, for nobody any more, to its planned end."""
        for station in self.all:
            while station.running:
                batch = station.running[0]
                batch.cut = True
                self._release(station, batch, batch.ends_us)
