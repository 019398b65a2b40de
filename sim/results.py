"""From a run to its summary."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from infercast.policies.fleet import Fleet
from infercast.policies.units import NUSD_PER_USD, US_PER_MS, US_PER_S

from .model import ANSWERED, Ended, Ints, Run
from .quantiles import Sorted, curve, quantile_us, sorted_by
from .summary import Busy, Curve, Flow, Group, Latency, Place, Stopped, Summary
from .tally import Floats, Places, Tally, is_answered, tally

DAY_S = 86_400
US_PER_DAY = DAY_S * US_PER_S


def summarise(run: Run, seed: int = 0) -> Summary:
    """Return the numbers of a run. `seed` is that of its workload's luck: runs with one seed are a pair when compared.

    Raises ValueError for a run with calls that have not ended.
    """
    if (run.ended == Ended.RUNNING).any():
        raise ValueError("the run is not over: some of its calls have not ended")
    return _Summing(run).summary(seed)


@dataclass(frozen=True, slots=True)
class _Names:
    """Groups of calls: their names, and the number of each kind's or place's group among them (-1 for none)."""

    names: tuple[str, ...]
    of: Ints

    @classmethod
    def distinct(cls, words: Sequence[str]) -> "_Names":
        """Return groups by name, in order of the alphabet, for things that have these names."""
        names = tuple(sorted(set(words)))
        number = {name: index for index, name in enumerate(names)}
        return cls(names, np.array([number[word] for word in words], dtype=np.int64))


class _Summing:
    """A run on its way to a summary: what several of its parts are made from."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._fleet: Fleet = run.world.fleet
        self._places = Places.of(run)
        self._answered = is_answered(run)
        place = self._places.of_calls(run)
        self._tally: Tally = tally(run, self._places, place, self._answered)
        self._place = place[self._answered]

    def summary(self, seed: int) -> Summary:
        """Return it."""
        run, kinds, fleet = self._run, self._run.world.calls.kinds, self._fleet
        tenants = _Names.distinct([kind.tenant for kind in kinds])
        models = _Names.distinct([kind.model for kind in kinds])
        sites = _Names(tuple(site.id for site in fleet.sites), self._places.site)
        of_tenants = self._sorted(tenants.of[self._kind], len(tenants.names))
        one, whole = np.zeros(len(self._latency_us), dtype=np.int64), np.zeros(len(self._tally.kind), dtype=np.int64)
        busy = tuple(self._busy(index) for index in range(len(fleet.sites)))
        return Summary(
            fleet=fleet.name,
            fleet_digest=fleet.digest,
            seed=seed,
            starts_at_s=run.world.starts_at_s,
            span_s=run.span_us / US_PER_S,
            stopped_early=run.stopped_early,
            overall=self._groups(("",), whole, self._sorted(one, 1))[""],
            tenants=self._groups(tenants.names, tenants.of[self._tally.kind], of_tenants),
            models=self._by(models, self._tally.kind, self._kind),
            sites=self._by(sites, self._tally.place, self._place),
            entered=self._entered(sites.names),
            served=self._served(tenants, sites),
            variants=self._variants(models),
            busy=dict(zip(sites.names, busy, strict=True)),
            deployments={each.id: self._of_deployment(index) for index, each in enumerate(fleet.deployments)},
            interval_s=run.bin_us / US_PER_S,
            flows=self._flows(sites.names),
            curves={name: _in_ms(curve(of_tenants.of(index))) for index, name in enumerate(tenants.names)},
            places=_places(fleet),
            joules=run.joules if run.world.watts else None,
        )

    @cached_property
    def _latency_us(self) -> Ints:
        """Of answered calls, as are the kinds and places beside it."""
        return self._run.latency_us[self._answered]

    @cached_property
    def _kind(self) -> npt.NDArray[np.int32]:
        return self._run.world.calls.kind[: len(self._run)][self._answered]

    def _sorted(self, label: Ints, groups: int) -> Sorted:
        return sorted_by(label, self._latency_us, groups)

    @cached_property
    def _with_accuracy(self) -> tuple[Floats, Floats]:
        """Per cell: its answers from variants whose accuracy is known, and the sum of their accuracies."""
        cards = [self._fleet.cards.get(deployment.variant) for deployment in self._fleet.deployments]
        known = [card.accuracy.value if card is not None and card.accuracy is not None else -1.0 for card in cards]
        accuracy = np.full(len(self._places.site), -1.0)
        accuracy[: len(known)] = known
        of_cell = accuracy[self._tally.place]
        answers = np.where(of_cell >= 0, self._answers, 0).astype(np.float64)
        return answers, answers * np.maximum(of_cell, 0.0)

    @cached_property
    def _answers(self) -> Ints:
        """Per cell: its answered calls."""
        return np.asarray(self._tally.ended[:, list(ANSWERED)].sum(axis=1), dtype=np.int64)

    def _by(self, groups: _Names, of_cell: Ints, of_call: npt.NDArray[Any]) -> dict[str, Group]:
        latencies = self._sorted(groups.of[of_call], len(groups.names))
        return self._groups(groups.names, groups.of[of_cell], latencies)

    def _groups(self, names: tuple[str, ...], label: Ints, latencies: Sorted) -> dict[str, Group]:
        sums = self._tally.grouped(label, len(names))
        endings = self._tally.endings(label, len(names))
        kept = label >= 0
        known, accuracy = (np.bincount(label[kept], each[kept], len(names)) for each in self._with_accuracy)
        reasons: dict[int, dict[tuple[str, str], int]] = {}
        for group, ended, rule, calls in self._tally.reasons(label):
            of_group = reasons.setdefault(group, {})
            key = (ended.name.lower(), rule)
            of_group[key] = of_group.get(key, 0) + calls
        return {
            name: self._group(
                {key: column[index] for key, column in sums.items()},
                endings[index],
                reasons.get(index, {}),
                accuracy[index] / known[index] if known[index] else None,
                latencies.of(index),
            )
            for index, name in enumerate(names)
        }

    def _group(
        self,
        sums: dict[str, float],
        endings: Ints,
        reasons: dict[tuple[str, str], int],
        accuracy: float | None,
        rising_us: Ints,
    ) -> Group:
        calls, answered, span_us = int(sums["calls"]), len(rising_us), self._run.span_us
        with_deadline, in_time = int(sums["with_deadline"]), int(sums["in_time"])
        cost_usd, egress_usd = sums["cost_nusd"] / NUSD_PER_USD, sums["egress_nusd"] / NUSD_PER_USD
        stopped = sorted(((-n, *key) for key, n in reasons.items()))
        return Group(
            calls=calls,
            answered=answered,
            ended={way.name.lower(): int(endings[way]) for way in Ended if way is not Ended.RUNNING},
            stopped=tuple(Stopped(ended, rule, -n) for n, ended, rule in stopped),
            latency=_latency(rising_us, sums["latency_us"]),
            wait_mean_ms=_ratio(sums["wait_us"] / US_PER_MS, calls),
            with_deadline=with_deadline,
            in_time=in_time,
            in_time_share=_ratio(in_time, with_deadline),
            answered_share=_ratio(answered, calls),
            accuracy=None if accuracy is None else float(accuracy),
            attempts=int(sums["attempts"]),
            hedged=int(sums["hedged"]),
            cost_usd=float(cost_usd),
            cost_usd_per_1000_calls=_ratio(1000 * cost_usd, calls),
            cost_usd_per_1000_answered=_ratio(1000 * cost_usd, answered),
            cost_usd_per_day=_ratio(cost_usd * US_PER_DAY, span_us),
            egress_usd=float(egress_usd),
            egress_usd_per_day=_ratio(egress_usd * US_PER_DAY, span_us),
        )

    def _entered(self, names: tuple[str, ...]) -> dict[str, int]:
        counts = np.bincount(self._run.entry + 1, minlength=len(names) + 1)
        return {name: int(counts[index + 1]) for index, name in enumerate(names)}

    def _served(self, tenants: _Names, sites: _Names) -> dict[str, dict[str, int]]:
        found = {tenant: dict.fromkeys(sites.names, 0) for tenant in tenants.names}
        for kind, place, answers in self._answering():
            if sites.of[place] >= 0:
                found[tenants.names[tenants.of[kind]]][sites.names[sites.of[place]]] += answers
        return found

    def _variants(self, models: _Names) -> dict[str, dict[str, int]]:
        known = self._fleet.model_by_id
        found = {
            model: {variant.id: 0 for variant in known[model].variants} if model in known else {}
            for model in models.names
        }
        for kind, place, answers in self._answering():
            if place < self._places.deployments:
                of_model = found[models.names[models.of[kind]]]
                of_model[self._fleet.deployments[place].variant] += answers
        return found

    def _answering(self) -> list[tuple[int, int, int]]:
        """Return kind, place and number of answers of each cell that has any."""
        some = self._answers > 0
        cells = (self._tally.kind[some], self._tally.place[some], self._answers[some])
        return list(zip(*(column.tolist() for column in cells), strict=True))

    def _flows(self, sites: tuple[str, ...]) -> tuple[Flow, ...]:
        kinds, found = self._run.world.calls.kinds, dict[tuple[str, str], int]()
        columns = (self._tally.kind, self._tally.place, self._tally.calls, self._answers)
        for kind, place, calls, answers in zip(*(column.tolist() for column in columns), strict=True):
            site = self._places.site[place]
            for name, some in ((sites[site] if site >= 0 else "", answers), ("", calls - answers)):
                if some:
                    key = (kinds[kind].origin, name)
                    found[key] = found.get(key, 0) + some
        return tuple(Flow(*key, calls) for key, calls in sorted(found.items()))

    def _busy(self, site: int) -> Busy:
        rows = np.flatnonzero(self._places.site[: self._places.deployments] == site)
        # In replicas' time: one that can run hundreds of calls at once is no hundreds of replicas.
        at_once = np.array([self._fleet.deployments[row].concurrency for row in rows], dtype=np.int64)[:, None]
        busy_us, ready_us = (of[rows] // at_once for of in (self._run.busy_us, self._run.replica_us))
        busy_us, ready_us = busy_us.sum(axis=0), ready_us.sum(axis=0)
        pairs = zip(busy_us.tolist(), ready_us.tolist(), strict=True)
        return _busy(busy_us, ready_us, tuple(_ratio(busy, ready) for busy, ready in pairs))

    def _of_deployment(self, index: int) -> Busy:
        return _busy(self._run.busy_us[index], self._run.replica_us[index], ())


def _busy(busy_us: Ints, ready_us: Ints, over_time: tuple[float | None, ...]) -> Busy:
    busy, ready = int(busy_us.sum()), int(ready_us.sum())
    return Busy(busy / US_PER_S, ready / US_PER_S, _ratio(busy, ready), over_time)


def _latency(rising_us: Ints, sum_us: float) -> Latency | None:
    if not len(rising_us):
        return None
    quantiles = (quantile_us(rising_us, percent) / US_PER_MS for percent in (50, 90, 95, 99, 100))
    return Latency(float(sum_us) / US_PER_MS / len(rising_us), *quantiles)


def _ratio(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _in_ms(points: tuple[tuple[int, float], ...]) -> Curve:
    return tuple((us / US_PER_MS, share) for us, share in points)


def _places(fleet: Fleet) -> tuple[Place, ...]:
    sites = (Place(site.id, site.tier.value, site.country, site.lat, site.lon) for site in fleet.sites)
    zones = (Place(zone.id, "zone", zone.country, zone.lat, zone.lon) for zone in fleet.zones)
    return (*sites, *zones)
