"""Live signals at an instant, and what the engine may believe of them at their age.

Ignorance is not bliss: a signal that has grown old is never taken for better than it was, nor for better than a site
whose replicas are all busy; one that was never heard, or not for long, says that the site is not healthy.

A *circuit* is this process's own judgement beside all reports: while it is open, a deployment is not healthy, whatever it says
of itself. It closes by what calls meet there (`router/conduct/breaker.py`), and stands open no longer than it was told to.

An *epoch* is what is believed between two calls of `believe` (or `distrust`, or of what opens and closes circuits). Inside one, only the number of calls in
flight changes, by this process's own calls: `patch` says how. An epoch's `state` with a patch is all that a decision
depends on beside the files, so a decision can be made again from them, bit for bit.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernel
from .fleet import Fleet
from .tables import Table
from .units import LATENCY_MAX_US

FRESH_US = 1_500_000
"""Up to this age a signal is taken as it is."""
DEAD_US = 4_000_000
"""Beyond this age a deployment counts as not healthy."""
RTT_FRESH_US = 60_000_000
"""Beyond this age a measured round trip is no longer taken for better than the declared one."""
IN_FLIGHT_MAX = 10_000_000
"""Ten times the largest `queue_max`: a report above it is vetoed the same, and bounds the kernel's products."""
NEVER_US = -1
DRAINED_US = -2
"""In place of an age: its operator takes it out of service, so nothing new goes there, however well it is."""
TRIED_OUT_US = -1
"""In place of the time that a circuit stays open for: one call is trying out whether it may close."""
_VIEWS = count(1)
Z_MAX = 100_000
P50 = slice(kernel.L_P50_US, kernel.L_P50_US + kernel.SIZES)
SPREAD = slice(kernel.L_SPREAD_US, kernel.L_SPREAD_US + kernel.SIZES)
Patch = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """What a site says of one of its deployments: calls in flight, and service time of late.

    `sizes` gives p50 and p95 per payload size where they were learned apart; without it, one pair stands for all.
    """

    in_flight: int
    p50_us: int
    p95_us: int
    healthy: bool = True
    sizes: tuple[tuple[int, int], ...] = ()
    drained: bool = False
    """Whether its operator takes it out of service: what it has it ends, and nothing new goes there."""

    def times_us(self) -> list[tuple[int, int]]:
        """Return (p50, p95) for each payload size."""
        return list(self.sizes) if len(self.sizes) == kernel.SIZES else [(self.p50_us, self.p95_us)] * kernel.SIZES


class Snapshot:
    """Signals of every deployment of a fleet, seen from anywhere. Arrays only; the caller brings the clock.

    `live` is what is believed, one row per deployment. `age_us[d]` is the age of the signal that row d stands on,
    NEVER_US before the first, DRAINED_US where that says that it is drained; `circuit_us[d]` for how long yet its circuit is
    open as of this epoch, 0 where it is not; `epoch` counts changes. Who writes into `live` directly calls `refresh` after.
    """

    def __init__(self, fleet: Fleet) -> None:
        count = len(fleet.deployments)
        self.fleet = fleet
        self.epoch = 0
        self.counted = 0
        """How often calls in flight have changed. With the epoch: what decisions depend on is the same while both are."""
        self.live: Table = fleet.tables.live.copy()
        self.age_us: Table = np.full(count, NEVER_US, dtype=np.int64)
        self.circuit_us: Table = np.zeros(count, dtype=np.int64)
        self._open_until_us: dict[int, int] = {}
        self._heard_us: Table = np.full(count, NEVER_US, dtype=np.int64)
        self._said: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        self._healthy: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        self._drained: npt.NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)
        self._sent: Table = np.zeros(count, dtype=np.int64)
        self._in_flight: Table = np.zeros(count, dtype=np.int64)
        self._p50_us: Table = np.zeros((count, kernel.SIZES), dtype=np.int64)
        self._p95_us: Table = np.zeros((count, kernel.SIZES), dtype=np.int64)
        self._rtt: dict[str, Table] = {}
        self._rtt_heard: dict[str, dict[int, tuple[int, int, int]]] = {}
        self._z: dict[str, Table] = {}
        self._z_heard: dict[str, dict[int, Table]] = {}
        self._views: dict[tuple[str, str], Table] = {}
        self._places: list[list[tuple[Table, int]]] = [[] for _ in range(count)]
        self._changed: dict[int, int] = {}
        self._base: Table = self.live.copy()
        self._digest = ""

    @classmethod
    def declared(cls, fleet: Fleet) -> "Snapshot":
        """Return the snapshot that the files alone give: every site healthy and idle, service times as on the cards."""
        snapshot = cls(fleet)
        snapshot.live[:, kernel.L_HEALTHY] = 1
        snapshot.live[:, P50] = fleet.tables.priors_us[:, :1]
        snapshot.refresh()
        return snapshot

    def view(self, entry: str, model: str) -> Table:
        """Return what the kernel reads for calls for a model that enter at `entry`: int64[V_ROWS, candidates]."""
        view = self._views.get((entry, model))
        if view is None:
            fixed = self.fleet.tables.fixed(entry, model)
            view = np.zeros((kernel.V_ROWS, fixed.shape[1]), dtype=np.int64)
            view[kernel.V_VERSION] = next(_VIEWS) << 32  # no plan made for another view may pass for one of this
            self._views[(entry, model)] = view
            for row, index in enumerate(self.fleet.tables.candidates(model)):
                self._places[index].append((view, row))
            kernel.refresh(fixed, self.live, self.rtt(entry), self.z(entry), view)
        return view

    def rtt(self, entry: str) -> Table:
        """Return the round trips from an entry to every site, int64[sites, R_COLS], declared until measured."""
        table = self._rtt.get(entry)
        if table is None:
            table = self._rtt[entry] = self.fleet.tables.rtt(entry)
        return table

    def z(self, entry: str) -> Table:
        """Return the quantiles' distances from the median, in thousandths of a spread: int64[deployments, QUANTILES]."""
        table = self._z.get(entry)
        if table is None:
            count = len(self.fleet.deployments)
            table = self._z[entry] = np.tile(np.array(kernel.Z_NORMAL, dtype=np.int64), (count, 1))
        return table

    def hear(self, index: int, report: Report, heard_us: int) -> None:
        """Take in a report that was true at `heard_us` on the caller's clock. An older one than known changes nothing."""
        if heard_us < max(0, self._heard_us[index]):
            return
        self._heard_us[index] = heard_us
        self._said[index] = True
        self._healthy[index] = report.healthy
        self._drained[index] = report.drained
        self._in_flight[index] = min(max(0, report.in_flight), IN_FLIGHT_MAX)
        for size, (p50_us, p95_us) in enumerate(report.times_us()):
            self._p50_us[index, size] = min(max(1, p50_us), LATENCY_MAX_US)
            self._p95_us[index, size] = min(max(1, p50_us, p95_us), LATENCY_MAX_US)

    def hear_rtt(self, entry: str, site: int, p50_us: int, spread_us: int, heard_us: int) -> None:
        """Take in a measured round trip to the site with this number; it counts from the next epoch on."""
        self._rtt_heard.setdefault(entry, {})[site] = (
            min(max(0, p50_us), LATENCY_MAX_US),
            min(max(0, spread_us), LATENCY_MAX_US),
            heard_us,
        )

    def hear_z(self, entry: str, index: int, z_milli: Sequence[int]) -> None:
        """Take in learned quantiles of a deployment; they count from the next epoch on.

        None of them is taken for better than the median: else a wider spread, which is what age and load bring, would
        look faster.
        """
        self._z_heard.setdefault(entry, {})[index] = np.clip(np.array(z_milli, dtype=np.int64), 0, Z_MAX)

    def distrust(self, index: int, now_us: int) -> None:
        """Forget a deployment until it says something newer than `now_us`: a call to it has just failed."""
        self._heard_us[index] = max(int(self._heard_us[index]), now_us)
        if not self._said[index] and not self.live[index, kernel.L_HEALTHY]:
            return  # nothing new is believed: when a site goes, all of its calls say so one after the other
        self._said[index] = False
        self.live[index, kernel.L_HEALTHY] = 0
        self._begin()

    def open_circuit(self, index: int, until_us: int, now_us: int) -> None:
        """Take a deployment for not healthy until `until_us`, whatever is heard of it; TRIED_OUT_US: until told otherwise."""
        self._open_until_us[index] = until_us
        self.circuit_us[index] = until_us if until_us == TRIED_OUT_US else max(1, until_us - now_us)
        self.live[index, kernel.L_HEALTHY] = 0
        self._begin()

    def close_circuit(self, index: int) -> None:
        """Believe again what a deployment says of itself: at once as it was believed in this epoch's signals."""
        self._open_until_us.pop(index, None)
        self.circuit_us[index] = 0
        fresh = self.age_us[index] <= DEAD_US and self.age_us[index] != DRAINED_US
        self.live[index, kernel.L_HEALTHY] = self._said[index] & self._healthy[index] & fresh
        self._begin()

    def _cool(self, now_us: int) -> None:
        """Work out for how long yet circuits are open. One whose time is up no longer stands in the way."""
        for index, until_us in list(self._open_until_us.items()):
            if until_us != TRIED_OUT_US:
                self.circuit_us[index] = max(0, until_us - now_us)
                if until_us <= now_us:
                    del self._open_until_us[index]

    def believe(self, now_us: int) -> None:
        """Work out `live` and `age_us` for an instant on the caller's clock; a new epoch."""
        heard, said = self._heard_us, self._said
        np.copyto(self.age_us, np.where(heard < 0, NEVER_US, np.maximum(0, now_us - heard)))
        old = self.age_us > FRESH_US
        concurrency = self.live[:, kernel.L_CONCURRENCY]
        in_flight = np.where(old, np.maximum(self._in_flight, concurrency), self._in_flight)
        in_flight = np.maximum(in_flight, self._sent)  # who told last may not have seen all of them arrive
        prior_p50, prior_p95 = self.fleet.tables.priors_us[:, :1], self.fleet.tables.priors_us[:, 1:]
        older = old[:, None]
        spread_us = self._p95_us - self._p50_us
        p50_us = np.where(older, np.maximum(self._p50_us, prior_p95), self._p50_us)
        spread_us = np.where(older, np.maximum(spread_us, prior_p95 - prior_p50), spread_us)
        live = self.live
        live[:, kernel.L_IN_FLIGHT] = np.where(said, in_flight, live[:, kernel.L_IN_FLIGHT])
        live[:, P50] = np.where(said[:, None], p50_us, live[:, P50])
        live[:, SPREAD] = np.where(said[:, None], spread_us, live[:, SPREAD])
        self._cool(now_us)
        fresh = self.age_us <= DEAD_US
        live[:, kernel.L_HEALTHY] = said & self._healthy & ~self._drained & fresh & (self.circuit_us == 0)
        self.age_us[said & self._drained & fresh] = DRAINED_US
        self._believe_rtt(now_us)
        for entry, heard_z in self._z_heard.items():
            for index, z_milli in heard_z.items():
                self.z(entry)[index] = z_milli
        self._z_heard.clear()
        self._begin()

    def _believe_rtt(self, now_us: int) -> None:
        for entry, heard in self._rtt_heard.items():
            declared, table = self.fleet.tables.rtt(entry), self.rtt(entry)
            for site, (p50_us, spread_us, heard_us) in heard.items():
                table[site] = (p50_us, spread_us)
                if now_us - heard_us > RTT_FRESH_US:
                    table[site] = np.maximum(table[site], declared[site])

    def refresh(self) -> None:
        """Make the views follow `live`, which somebody has written into: a new epoch."""
        self._begin()

    def _begin(self) -> None:
        self.epoch += 1
        np.copyto(self._base, self.live)
        self._changed.clear()
        self._digest = ""
        for (entry, model), view in self._views.items():
            kernel.refresh(self.fleet.tables.fixed(entry, model), self.live, self.rtt(entry), self.z(entry), view)

    def count(self, index: int, calls: int) -> None:
        """Count calls of this process that began (or, below 0, ended) at a deployment, at once and in every view."""
        self.counted += 1
        now = int(self.live[index, kernel.L_IN_FLIGHT]) + calls
        self.live[index, kernel.L_IN_FLIGHT] = now
        self._changed[index] = now
        for view, row in self._places[index]:
            view[kernel.V_IN_FLIGHT, row] = now

    @contextmanager
    def running(self, index: int) -> Iterator[None]:
        """Count a call in flight for as long as it runs."""
        self.count(index, 1)
        try:
            yield
        finally:
            self.count(index, -1)

    @contextmanager
    def sending(self, index: int) -> Iterator[None]:
        """Count a call in flight that is another site's to run, for as long as it is away.

        What that site tells of its load is older than this, and may not yet have the call in it.
        """
        self.send(index, 1)
        try:
            yield
        finally:
            self.send(index, -1)

    def send(self, index: int, calls: int) -> None:
        """Count calls that went to another site (or, below 0, came back), as `sending` does."""
        self._sent[index] += calls
        self.count(index, calls)

    @contextmanager
    def tried(self, entry: str, model: str, indices: Sequence[int]) -> Iterator[None]:
        """Shut deployments that a call was tried on, for the length of a decision."""
        row_of = self.fleet.tables.row_of(model)
        with self._shut(entry, model, [row_of[index] for index in indices if index in row_of], kernel.SHUT_TRIED):
            yield

    @contextmanager
    def only(self, entry: str, model: str, variant: str) -> Iterator[None]:
        """Shut every deployment of another variant, for the length of a decision; none where the variant is empty."""
        of, row_of = self.fleet.deployments, self.fleet.tables.row_of(model)
        rows = [row for index, row in row_of.items() if variant and of[index].variant != variant]
        with self._shut(entry, model, rows, kernel.SHUT_VERSION):
            yield

    @contextmanager
    def _shut(self, entry: str, model: str, rows: list[int], why: int) -> Iterator[None]:
        view = self.view(entry, model)
        view[kernel.V_SHUT, rows] |= why
        try:
            yield
        finally:
            view[kernel.V_SHUT, rows] &= ~why

    def patch(self) -> Patch:
        """Return the calls in flight that have changed since the epoch began, as (deployment, calls now)."""
        return tuple(self._changed.items())

    def apply(self, patch: Sequence[Sequence[int]]) -> None:
        """Set calls in flight as a patch says."""
        for index, in_flight in patch:
            self.count(index, in_flight - int(self.live[index, kernel.L_IN_FLIGHT]))

    def digest(self) -> str:
        """Return a digest of all that this epoch's decisions depend on, patches apart; the same on every machine."""
        if not self._digest:
            hashed = hashlib.blake2b(digest_size=16)
            for table in (self._base, self.age_us):
                hashed.update(table.astype("<i8", copy=False).tobytes())
            for name, tables in (("rtt", self._learned_rtt()), ("z", self._learned_z())):
                hashed.update(f"{name}{sorted(tables.items())}".encode())
            if circuits := self._circuits():
                hashed.update(f"circuits{sorted(circuits.items())}".encode())
            self._digest = hashed.hexdigest()
        return self._digest

    def _circuits(self) -> dict[int, int]:
        """Return the circuits that are open, and for how long yet."""
        return {index: int(self.circuit_us[index]) for index in np.flatnonzero(self.circuit_us).tolist()}

    def _learned_rtt(self) -> dict[str, dict[int, list[int]]]:
        """Return the round trips that differ from the declared ones, by entry and site."""
        declared = self.fleet.tables.rtt
        return _differing({entry: (table, declared(entry)) for entry, table in self._rtt.items()})

    def _learned_z(self) -> dict[str, dict[int, list[int]]]:
        """Return the quantiles that differ from the normal distribution's, by entry and deployment."""
        normal = np.array(kernel.Z_NORMAL, dtype=np.int64)
        return _differing({entry: (table, normal) for entry, table in self._z.items()})

    def state(self) -> dict[str, Any]:
        """Return all that this epoch's decisions depend on beside the files and a patch, as plain values."""
        circuits = {str(index): open_us for index, open_us in self._circuits().items()}
        return {
            "epoch": self.epoch,
            "live": self._base.tolist(),
            "age_us": self.age_us.tolist(),
            "rtt": {entry: {str(k): v for k, v in rows.items()} for entry, rows in self._learned_rtt().items()},
            "z": {entry: {str(k): v for k, v in rows.items()} for entry, rows in self._learned_z().items()},
            **({"circuits": circuits} if circuits else {}),
        }

    @classmethod
    def restored(cls, fleet: Fleet, state: Mapping[str, Any]) -> "Snapshot":
        """Return the snapshot of a state, for deciding again. Raises ValueError for a state of another fleet."""
        snapshot = cls(fleet)
        live, age_us = np.array(state["live"], dtype=np.int64), np.array(state["age_us"], dtype=np.int64)
        if live.shape != snapshot.live.shape or age_us.shape != snapshot.age_us.shape:
            raise ValueError(f"the state has {live.shape} signals, this fleet {snapshot.live.shape}")
        snapshot.live[:], snapshot.age_us[:] = live, age_us
        for entry, rows in state["rtt"].items():
            for site, pair in rows.items():
                snapshot.rtt(entry)[int(site)] = pair
        for entry, rows in state["z"].items():
            for index, z_milli in rows.items():
                snapshot.z(entry)[int(index)] = z_milli
        for index, open_us in state.get("circuits", {}).items():
            snapshot.circuit_us[int(index)] = open_us
        snapshot.refresh()
        snapshot.epoch = int(state["epoch"])
        return snapshot


def _differing(tables: Mapping[str, tuple[Table, Table]]) -> dict[str, dict[int, list[int]]]:
    """Return the rows of each table that differ from those of another, by name and number, in their order."""
    found = {}
    for name, (table, other) in sorted(tables.items()):
        rows = np.flatnonzero((table != other).any(axis=1)).tolist()
        if rows:
            found[name] = {row: table[row].tolist() for row in rows}
    return found
