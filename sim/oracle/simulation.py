"""The event loop, and what holds its parts together."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from infercast.policies import kernel
from infercast.policies.model import Request
from infercast.policies.snapshot import Report
from infercast.policies.units import PPM, US_PER_S, ppm

from ..model import Disturbance, Ended, Truth, World
from .agenda import Agenda, Rank
from .calls import Books, Call, Try
from .conduct import Conduct
from .limits import Limits
from .place import Place
from .scaling import TICK_US, Scaler
from .stations import Station, Stations
from .ways import Ways
from .weather import Weather

LOOK_UP_EVERY = 256
"""Events between two looks at whether to stop."""


class Simulation:
    """One run."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.agenda = Agenda()
        self.weather = Weather(world.disturbances)
        self.ways = Ways(world.fleet)
        self.places = [Place.of(world, number) for number in range(len(world.fleet.sites))]
        self.books = Books(world)
        self.limits = Limits(world.policies, world.starts_at_s)
        self.conduct = Conduct(world, self.agenda, self.weather, self.ways, self.places, self.books, self.limits)
        self.stations = Stations(self.agenda, _stations(world), self)
        self.scalers = {
            index: Scaler(self.stations.all[index], world.scaling[card.id], self.agenda, self._scaled)
            for index, card in enumerate(world.fleet.deployments)
            if card.id in world.scaling
        }
        self.conduct.stations = self.stations
        self.stopped = False
        self.stood: list[list[tuple[int, int]]] = [[(0, station.servers)] for station in self.stations.all]
        """By deployment: from when on how many servers stood ready."""
        self._plan()

    def _plan(self) -> None:
        self.weather.plan(self.agenda, self._changed)
        for place in self.places:
            phase_us = self.world.exchange_us * place.number // len(self.places)
            self.agenda.put(phase_us, Rank.EXCHANGE, place.number, partial(self._exchange, place))
        for index in self.scalers:
            self.agenda.put(TICK_US, Rank.SCALING, index, partial(self._tick, index))
        for number, at_us in enumerate(self.world.calls.at_us.tolist()):
            self.agenda.put(at_us, Rank.SENDING, number, partial(self._sent, number))

    def run(self, progress: Callable[[int, int], None] | None, stop: Callable[[], bool] | None) -> None:
        """Run to the end of the last call."""
        total, events = len(self.world.calls), 0
        while self.books.over < self.books.came or (self.books.came < total and not self.stopped):
            self.agenda.step()
            events += 1
            if events % LOOK_UP_EVERY == 0:
                self.stopped = self.stopped or (stop is not None and stop())
                if progress is not None:
                    progress(self.books.over, total)
        self.stations.close()
        if progress is not None:
            progress(self.books.over, total)

    def _sent(self, number: int) -> None:
        """Let a call be sent: the first of its entries that can be reached takes it."""
        if self.stopped:
            return
        self.books.came += 1
        calls, fleet = self.world.calls, self.world.fleet
        kind = calls.kinds[int(calls.kind[number])]
        for name in kind.entries:
            way = self.ways.way(kind.origin, name)
            if self.weather.site_down(name) or way.closed(self.weather):
                continue
            trip_us = way.rtt_us(self.weather)
            payload_bytes = int(calls.payload_bytes[number])
            enter_us = self.agenda.now_us + trip_us // 2 + way.transfer_us(payload_bytes)
            at_s = self.world.starts_at_s + enter_us // US_PER_S if self.world.starts_at_s else 0
            request = Request(
                str(number),
                kind.tenant,
                kind.model,
                name,
                kind.origin,
                kind.classes,
                payload_bytes,
                kind.deadline_us,
                at_s,
            )
            call = Call(
                number=number,
                kind=kind,
                kind_number=int(calls.kind[number]),
                entry=fleet.tables.site_index[name],
                request=request,
                sent_us=self.agenda.now_us,
                enter_us=enter_us,
                access_trip_us=trip_us,
                luck=int(calls.luck[number]),
                work_ppm=int(calls.work_ppm[number]),
                content=int(calls.content[number]),
            )
            self.books.entry[number] = call.entry
            self.books.enter_us[number] = enter_us
            self.agenda.put(enter_us, Rank.ENTERING, number, partial(self.conduct.enter, call))
            return
        self.books.end(number, Ended.LOST, 0)

    def _exchange(self, place: Place) -> None:
        now_us = self.agenda.now_us
        self.agenda.put(now_us + self.world.exchange_us, Rank.EXCHANGE, place.number, partial(self._exchange, place))
        if not self.weather.site_down(place.name):
            place.exchange(self.places, self._truly, now_us)
            self._check(place)

    def _truly(self, index: int, report: Report) -> Report:
        station = self.stations.all[index]
        healthy = not self.weather.deployment_down(station.card.id)
        if index in self.scalers and station.ready == 0:
            report = _later(report, self.scalers[index].words.cold_start_us)
        return replace(report, in_flight=station.load, healthy=healthy)

    def _tick(self, index: int) -> None:
        self.agenda.put(self.agenda.now_us + TICK_US, Rank.SCALING, index, partial(self._tick, index))
        self.scalers[index].tick()

    def _scaled(self, station: Station) -> None:
        self.note_ready(station)
        self.stations.start(station)

    def _check(self, place: Place) -> None:
        """Hold what a place believes of its own load against the truth."""
        for index in place.mine:
            assert place.snapshot.live[index, kernel.L_IN_FLIGHT] == self.stations.all[index].load

    def _changed(self, disturbance: Disturbance) -> None:
        for station in self.stations.all:
            self.note_ready(station)
        if disturbance.what == "site_down" and self.weather.site_down(disturbance.target):
            place = self.places[self.world.fleet.tables.site_index[disturbance.target]]
            for index in place.mine:
                self.stations.lose(self.stations.all[index])
            self.conduct.lose_entered(place)
        if disturbance.what == "deployment_down" and self.weather.deployment_down(disturbance.target):
            self.stations.lose(self.stations.all[self.world.fleet.deployment_index[disturbance.target]])

    def note_ready(self, station: Station) -> None:
        """Write down how many servers of a deployment stand ready from now on."""
        now_us, servers = self.agenda.now_us, 0 if self.down(station) else station.servers
        if self.stood[station.index][-1][1] != servers:
            self.stood[station.index].append((now_us, servers))

    # What stations need to know of the world around them, and tell it.

    def down(self, station: Station) -> bool:
        """Return whether a deployment, or all of its site, is down."""
        return self.weather.site_down(station.card.site) or self.weather.deployment_down(station.card.id)

    def slow_ppm(self, station: Station) -> int:
        """Return how slow its site is."""
        return self.weather.site_slow_ppm(station.card.site)

    def counted(self, station: Station, calls: int) -> None:
        """Let the site see its own load at once."""
        self.places[station.site].snapshot.count(station.index, calls)

    def waited(self, each: Try, wait_us: int) -> None:
        """Write down what a try waited."""
        self.books.wait_us[each.call.number] += wait_us

    def spent(self, each: Try, compute_nusd: int) -> None:
        """Write down what a try's service has cost."""
        self.conduct.spend(each.call, compute_nusd)

    def served(self, station: Station, each: Try, service_us: int) -> None:
        """Learn from a call that did not wait, and send its answer on its way."""
        place = self.places[station.site]
        if place.learns and each.began_us == each.arrived_us:
            place.estimates.served(station.index, each.call.request.payload_bytes, service_us, service_us, waited=False)
        self.conduct.served(each)


def _later(report: Report, by_us: int) -> Report:
    sizes = tuple((p50_us + by_us, p95_us + by_us) for p50_us, p95_us in report.sizes)
    return replace(report, p50_us=report.p50_us + by_us, p95_us=report.p95_us + by_us, sizes=sizes)


def _stations(world: World) -> list[Station]:
    fleet = world.fleet
    stations = []
    for index, card in enumerate(fleet.deployments):
        p50_us, p95_us = fleet.tables.priors_us[index].tolist()
        stations.append(
            Station(
                index=index,
                site=fleet.tables.site_index[card.site],
                card=card,
                truth=world.truth.get(card.id, Truth(p50_us, p95_us)),
                marginal_ppm=ppm(world.batch_marginal[card.variant]) if card.variant in world.batch_marginal else PPM,
                nusd_per_s=int(fleet.tables.live[index, kernel.L_NUSD_PER_S]),
                call_nusd=fleet.tables.call_nusd[index],
                ready=card.replicas,
            )
        )
    return stations
