"""What a scenario says beside its files: what fails or is slow and when, how replicas follow the load, what things really take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from infercast.policies.documents import Location
from infercast.policies.faults import Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.model import Hosting
from infercast.policies.units import us_from_ms

from .changes import Autoscale, Change, Fail, Slow
from .changes import Truth as TruthForm
from .model import Disturbance, Scaling, Truth
from .scenario_file import Layer

FOREVER_US = 2**50
"""An end that no run reaches (35 years)."""


@dataclass(frozen=True, slots=True)
class Happenings:
    """What happens to a world, and what its deployments are really like; as `sim.model.World` has it."""

    disturbances: tuple[Disturbance, ...] = ()
    scaling: Mapping[str, Scaling] = field(default_factory=dict)
    truth: Mapping[str, Truth] = field(default_factory=dict)
    batch_marginal: Mapping[str, float] = field(default_factory=dict)
    watts: Mapping[str, float] = field(default_factory=dict)


def happenings_of(layers: Iterable[Layer], fleet: Fleet, faults: list[Fault]) -> Happenings:
    """Return what all files of a scenario say; the last word on a thing counts. Names nobody knows become faults."""
    found = _Gathering(fleet, faults)
    for layer in layers:
        for index, change in enumerate(layer.says.changes):
            found.take(layer, ("changes", index), change)
    return Happenings(tuple(found.disturbances), found.scaling, found.truth, found.batch_marginal, found.watts)


class _Gathering:
    """What was gathered so far, and where its faults go."""

    def __init__(self, fleet: Fleet, faults: list[Fault]) -> None:
        self.fleet, self.faults = fleet, faults
        self.disturbances: list[Disturbance] = []
        self.scaling: dict[str, Scaling] = {}
        self.truth: dict[str, Truth] = {}
        self.batch_marginal: dict[str, float] = {}
        self.watts: dict[str, float] = {}

    def take(self, layer: Layer, at: Location, change: Change) -> None:
        """Take what a change says of these things; nothing from others."""
        for what, form in (("down", change.fail), ("slow", change.slow)):
            if form is not None:
                self._disturb(layer, (*at, "fail" if what == "down" else "slow"), what, form)
        if change.autoscale is not None:
            self._autoscale(layer, (*at, "autoscale"), change.autoscale)
        if change.truth is not None:
            names = self._deployments(layer, (*at, "truth"), change.truth.deployments)
            self.truth |= dict.fromkeys(names, _truth(change.truth))
        if change.power is not None:
            self._known(layer, (*at, "power", "watts"), "site", change.power.watts, self.fleet.site_by_id)
            self.watts |= change.power.watts
        if change.batching is not None:
            marginal = change.batching.marginal
            self._known(layer, (*at, "batching", "marginal"), "variant", marginal, self.fleet.model_of)
            self.batch_marginal |= marginal

    def _known(self, layer: Layer, at: Location, one: str, names: Iterable[str], known: Iterable[str]) -> None:
        known = set(known)
        for name in names:
            if name not in known:
                fault = layer.document.fault((*at, name), f"no {one} is called {name!r}", did_you_mean(name, known))
                self.faults.append(fault)

    def _deployments(self, layer: Layer, at: Location, names: tuple[str, ...]) -> tuple[str, ...]:
        for index, name in enumerate(names):
            if name not in self.fleet.deployment_index:
                remedy = did_you_mean(name, self.fleet.deployment_index)
                place = (*at, "deployments", index)
                self.faults.append(layer.document.fault(place, f"no deployment is called {name!r}", remedy))
        return names

    def _disturb(self, layer: Layer, at: Location, what: str, form: Fail | Slow) -> None:
        ends = [(link.from_, link.to) for link in self.fleet.links]
        known: dict[str, dict[str, str]] = {
            "site": {name: name for name in self.fleet.site_by_id},
            "deployment": {name: name for name in self.fleet.deployment_index},
            "link": {f"{a}~{b}": f"{one}~{other}" for one, other in ends for a, b in ((one, other), (other, one))},
        }
        for one, names in known.items():
            target = getattr(form, one, None)
            if target is None:
                continue
            if target not in names:
                message, remedy = f"no {one} is called {target!r}", did_you_mean(target, names)
                self.faults.append(layer.document.fault((*at, one), message, remedy))
                return
            until_us = FOREVER_US if form.until_us is None else form.until_us
            factor = form.factor if isinstance(form, Slow) else 1.0
            kind = f"{one}_{what}"
            # `kind` is one of its five words: no deployment can be slow.
            self.disturbances.append(Disturbance(kind, names[target], form.from_us, until_us, factor))  # type: ignore[arg-type]

    def _autoscale(self, layer: Layer, at: Location, form: Autoscale) -> None:
        scaling = Scaling(
            replicas_min=form.replicas_min,
            replicas_max=form.replicas_max,
            target_ongoing=form.target_ongoing,
            look_back_us=form.look_back,
            upscale_delay_us=form.upscale_delay,
            downscale_delay_us=form.downscale_delay,
            cold_start_us=form.cold_start,
        )
        for index, name in enumerate(self._deployments(layer, at, form.deployments)):
            self.scaling[name] = scaling
            number = self.fleet.deployment_index.get(name)
            if number is not None and (problem := self._no_room(number, form)):
                self.faults.append(layer.document.fault((*at, "deployments", index), *problem))

    def _no_room(self, number: int, form: Autoscale) -> tuple[str, str] | None:
        """Return why a deployment cannot have as many replicas, and a remedy; None where it can."""
        deployment = self.fleet.deployments[number]
        if deployment.hosted is not Hosting.OWN:
            return f"{deployment.id!r} runs inside the site's workers", "change_deployment: hosted: own"
        slots = self.fleet.site_by_id[deployment.site].accelerators[deployment.accelerator].slots
        if form.replicas_max > slots:
            return f"site {deployment.site!r} has {slots} {deployment.accelerator} slots", "fewer, or resize_site"
        return None


def _truth(form: TruthForm) -> Truth:
    values = tuple(sorted(us_from_ms(value) for value in form.values_ms))
    middle = values[len(values) // 2] if values else 0
    p50_us = us_from_ms(form.p50_ms) if form.p50_ms is not None else middle
    p95_us = us_from_ms(form.p95_ms) if form.p95_ms is not None else max(p50_us, values[-1] if values else 0)
    return Truth(p50_us, p95_us, form.shape, values)
