"""A policy worked out for one kind of call, (data classes, entry, origin, model): flat arrays, made once, mostly shared.

Policies with equal content share by digest, whoever's they are. What is vetoed by files is worked out per site (`Ground`),
spread over the candidates of a model (`Rules`), and what a place exposes per country and operator that a call comes
from. A kind of call (`Compiled`) only names these, and adds a handful of numbers of its own.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from . import kernel
from .constraints import Veto, accuracy_floor_ppm, accuracy_veto, entry_veto, site_veto
from .fleet import Fleet
from .model import Preference, Rule
from .network import Path
from .objectives import QUANTILE_COLUMN, exposures, form
from .parts import Constraints, Objective
from .policy import Policy, Terms
from .tables import Table
from .units import deadline_us, nusd

Codes = npt.NDArray[np.uint8]
NO_PLAN: Table = np.zeros((kernel.SIZES, kernel.PLAN_ORDER), dtype=np.int64)
"""The plan of a kind of call that is too rare to have one."""


def new_plan(candidates: int) -> Table:
    """Return a plan (see `kernel.arrange`) that no view agrees with yet: int64[SIZES, PLAN_ORDER + PLAN_EACH * candidates]."""
    plan = np.zeros((kernel.SIZES, kernel.PLAN_ORDER + kernel.PLAN_EACH * candidates), dtype=np.int64)
    plan[:, kernel.PLAN_VERSION] = -1
    return plan


GroundKey = tuple[str, tuple[str, ...], tuple[int, ...], str]


class Ground:
    """What a set of constraint blocks vetoes for calls that enter at one place, whatever they ask and wherever from."""

    def __init__(self, fleet: Fleet, blocks: tuple[Constraints, ...], entry: str) -> None:
        self._fleet = fleet
        self._entry = entry
        self.blocks = blocks
        self.sites = tuple(site_veto(blocks, s, fleet.network.path(entry, s.id), fleet) for s in fleet.sites)
        self._codes: Codes = np.array([v.rule if v else 0 for v in self.sites], dtype=np.uint8)
        self._rules: dict[str, Rules] = {}
        self._gates: dict[tuple[object, ...], Veto | None] = {}
        deadlines = [deadline_us(block.deadline_ms) for block in blocks if block.deadline_ms is not None]
        ceilings = [nusd(block.price_max_usd) for block in blocks if block.price_max_usd is not None]
        self.deadline_us = min(deadlines, default=0)
        self.price_max_nusd = min(ceilings, default=-1)

    def gate(self, origin: str) -> Veto | None:
        """Return why calls from a place may not enter here, or None. Ways that cross the same places share the answer."""
        way_in = self._fleet.network.path(origin, self._entry)
        key = _crossing(way_in)
        if key not in self._gates:
            self._gates[key] = entry_veto(self.blocks, self._fleet.site_by_id[self._entry], way_in, self._fleet)
        return self._gates[key]

    def rules(self, model: str) -> "Rules":
        """Return what files veto of a model's candidates."""
        found = self._rules.get(model)
        if found is None:
            found = self._rules[model] = self._make_rules(model)
        return found

    def _make_rules(self, model: str) -> "Rules":
        tables, fleet = self._fleet.tables, self._fleet
        codes = self._codes[tables.sites_of(model)]
        variants = {
            variant.id: accuracy_veto(self.blocks, tables.variant_accuracy_ppm(variant.id), model)
            for variant in fleet.model_by_id[model].variants
        }
        if any(variants.values()):
            for row, index in enumerate(tables.candidates(model)):
                if codes[row] == 0 and variants[fleet.deployments[index].variant]:
                    codes[row] = Rule.ACCURACY
        return Rules(codes, variants)


@dataclass(frozen=True, slots=True)
class Rules:
    """Codes of Rule for a model's candidates, uint8[n], and the vetoes for accuracy by variant."""

    codes: Codes
    variants: dict[str, Veto | None]


def _crossing(way: Path | None) -> tuple[object, ...]:
    return (None,) if way is None else (way.countries, way.via[1:])


class Compiled:
    """A kind of call, made ready. `answer` is the kernel's scratch, reused per call; the properties are for people."""

    __slots__ = (
        "_fleet",
        "_ground",
        "_onward",
        "_rules",
        "answer",
        "calls",
        "codes",
        "deadline_us",
        "entry",
        "exposure",
        "from_s",
        "gate",
        "margin",
        "model",
        "origin",
        "params",
        "plan",
        "policy",
        "terms",
        "until_s",
        "view_key",
    )

    def __init__(
        self,
        fleet: Fleet,
        policy: Policy,
        terms: Terms,
        ground: Ground,
        exposure: Table,
        kind: tuple[str, str, str],
        period: tuple[int, int],
    ) -> None:
        entry, origin, model = kind
        self._fleet = fleet
        self._ground = ground
        self._rules = ground.rules(model)
        self.policy = policy
        self.terms = terms
        self.entry, self.origin, self.model = kind
        self.view_key = (entry, model)
        self.from_s, self.until_s = period
        self.gate = no_ingress(fleet, policy, entry) or ground.gate(origin)
        self._onward = onward_veto(fleet, origin)
        self.codes = self._rules.codes
        if self._onward is not None:
            upstreams = [index in fleet.upstream_deployments for index in self.deployments]
            self.codes = np.where(upstreams, np.uint8(self._onward.rule), self.codes).astype(np.uint8)
        if self.gate is not None:
            self.codes = np.full(len(self.codes), self.gate.rule, dtype=np.uint8)
        self.exposure = exposure
        self.deadline_us = ground.deadline_us
        self.params = _params(fleet, terms, ground, kind)
        self.margin = int(self.params[kernel.P_MARGIN])
        self.calls = 0
        self.plan: Table = NO_PLAN
        self.answer: Table = np.zeros((kernel.A_ROWS, terms.behaviour.fallbacks_max + 1), dtype=np.int64)

    @property
    def deployments(self) -> tuple[int, ...]:
        """The candidates, as deployments of the fleet."""
        return self._fleet.tables.candidates(self.model)

    @property
    def vetoes(self) -> tuple[Veto | None, ...]:
        """What files say against each candidate."""
        return tuple(self.veto(index) for index in self.deployments)

    def veto(self, index: int) -> Veto | None:
        """Return what files say against a deployment; None when it passes."""
        if self.gate is not None:
            return self.gate
        if self._onward is not None and index in self._fleet.upstream_deployments:
            return self._onward
        deployment = self._fleet.deployments[index]
        site = self._ground.sites[self._fleet.tables.site_index[deployment.site]]
        return site or self._rules.variants[deployment.variant]

    @property
    def accuracy_ppm(self) -> tuple[int | None, ...]:
        """The measured accuracy of each candidate."""
        return tuple(self._fleet.tables.accuracy_ppm(index) for index in self.deployments)

    @property
    def assumed_error_ppm(self) -> int | None:
        """The error that an unmeasured candidate is scored with."""
        return self._fleet.tables.assumed_error_ppm(self.model)

    @property
    def accuracy_floor_ppm(self) -> int | None:
        """The highest accuracy floor that binds the call."""
        return accuracy_floor_ppm(self._ground.blocks, self.model)


def no_ingress(fleet: Fleet, policy: Policy, entry: str) -> Veto | None:
    """Return why a tenant's calls may not enter at a site whatever its policy says: it is an upstream, or another tenant's device.

    Nothing leads into a device, so this keeps others off it whole.
    """
    if fleet.site_by_id[entry].upstream is not None:
        return Veto(Rule.PATH_NONE, f"{entry} is an upstream: no call enters there")
    if fleet.site_by_id[entry].tenant in (None, policy.tenant):
        return None
    return Veto(Rule.ENTRY_PRIVACY, f"{entry} is another tenant's device")


def onward_veto(fleet: Fleet, origin: str) -> Veto | None:
    """Return why calls from a place go to no upstream: another cluster has sent them here already. None where they may."""
    zone = fleet.zone_by_id.get(origin)
    if zone is None or not zone.peer or zone.onward:
        return None
    return Veto(Rule.PATH_NONE, f"{origin} is a peer: its calls are not sent on")


def _params(fleet: Fleet, terms: Terms, ground: Ground, kind: tuple[str, str, str]) -> Table:
    entry, origin, model = kind
    access_us, square, per_byte, egress, back = fleet.tables.access(origin, entry)
    params = np.zeros(kernel.P_COLS, dtype=np.int64)
    params[kernel.P_RESPONSE_BYTES] = fleet.model_by_id[model].response_bytes
    params[kernel.P_ACCESS_US] = access_us
    params[kernel.P_ACCESS_SQUARE] = square
    params[kernel.P_ACCESS_PS_PER_BYTE] = per_byte
    params[kernel.P_ACCESS_EGRESS] = egress
    params[kernel.P_ACCESS_EGRESS_BACK] = back
    params[kernel.P_DEADLINE_Z] = QUANTILE_COLUMN[terms.deadline_quantile]
    params[kernel.P_PRICE_MAX] = ground.price_max_nusd
    if terms.objective.preference is Preference.BALANCED:
        params[kernel.P_MARGIN] = nusd(terms.behaviour.spread_margin_usd)
    for column, value in form(terms.objective).items():
        params[column] = value
    return params


class Shop:
    """Makes kinds of calls for one fleet, and keeps what they share."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._grounds: dict[GroundKey, Ground] = {}
        self._exposures: dict[tuple[object, ...], Table] = {}

    def ground(self, policy: Policy, terms: Terms, classes: tuple[str, ...], entry: str) -> Ground:
        """Return what a policy's blocks veto at an entry; equal policies share it."""
        key = (policy.core_digest, classes, terms.overrides, entry)
        found = self._grounds.get(key)
        if found is None:
            found = self._grounds[key] = Ground(self._fleet, terms.blocks, entry)
        return found

    def exposure(self, objective: Objective, origin: str) -> Table:
        """Return what each site exposes of a call from a place, int64[sites]; places of one kind share it."""
        source = self._fleet.site_by_id.get(origin)
        kind = (self._fleet.country_of(origin), source and source.operator, source is not None)
        key = (objective.preference, objective.exposure, *kind)
        found = self._exposures.get(key)
        if found is None:
            found = self._exposures[key] = exposures(objective, origin, self._fleet)
        return found

    def make(
        self, policy: Policy, classes: tuple[str, ...], entry: str, origin: str, model: str, at_s: int
    ) -> Compiled:
        """Return the arrays for calls of these data classes that enter at `entry`, come from `origin`, ask `model`."""
        terms = policy.terms(self._fleet, classes, model, origin, at_s)
        ground = self.ground(policy, terms, classes, entry)
        exposure = self.exposure(terms.objective, origin)
        kind = (entry, origin, model)
        return Compiled(self._fleet, policy, terms, ground, exposure, kind, policy.period(at_s))
