"""A site as an entry: what it knows, what it decides by, and which calls are its own. The live router's own parts."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from infercast.policies.engine import Engine
from infercast.policies.estimates import Estimates
from infercast.policies.fleet import Fleet
from infercast.policies.model import Choice, Quantile, Request
from infercast.policies.objectives import QUANTILE_COLUMN
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Report, Snapshot

from ..model import World
from .calls import Call

Told = dict[int, Report]


@dataclass(slots=True, eq=False)
class Place:
    """One site's engine, snapshot and estimates. `told` is what it last told of its deployments, and when."""

    number: int
    name: str
    fleet: Fleet
    engine: Engine
    snapshot: Snapshot
    estimates: Estimates
    mine: tuple[int, ...]
    learns: bool
    calls: dict[int, Call] = field(default_factory=dict)
    """Calls that entered here and have not ended, by number."""
    kept_us: dict[tuple[object, ...], int] = field(default_factory=dict)
    """When the answers that are kept here came, by what they are kept under."""
    told: Told = field(default_factory=dict)
    told_us: int = 0

    @classmethod
    def of(cls, world: World, number: int) -> "Place":
        """Return a site as it is when a run begins: every deployment is told to be idle and healthy, as declared."""
        fleet, name = world.fleet, world.fleet.sites[number].id
        mine = tuple(index for index, card in enumerate(fleet.deployments) if card.site == name)
        policies: dict[str, Policy] = dict(world.policies)
        place = cls(
            number=number,
            name=name,
            fleet=fleet,
            engine=Engine(fleet, policies),
            snapshot=Snapshot(fleet),
            estimates=Estimates(fleet, name, mine),
            mine=mine,
            learns=world.estimates == "learned",
        )
        place.told = {index: place.estimates.report(index, 0) for index in mine}
        for index, (p50_us, p95_us) in enumerate(fleet.tables.priors_us.tolist()):
            place.snapshot.hear(index, Report(0, p50_us, p95_us), 0)
        for (entry, deployment), z_milli in world.surprises.items():
            if entry == name:
                place.estimates.begin(fleet.deployment_index[deployment], z_milli)
                place.snapshot.hear_z(name, fleet.deployment_index[deployment], z_milli)
        place.snapshot.believe(0)
        return place

    def choose(self, request: Request, tried: list[int]) -> Choice:
        """Decide on what is believed now."""
        return self.engine.choose(request, self.snapshot, tried)

    def may_enter(self, request: Request) -> bool:
        """Return whether a call may have entered here."""
        return self.engine.compiled(request).gate is None

    def z_milli(self, index: int, quantile: Quantile) -> int:
        """Return how far a quantile of a deployment's times is from the median, in thousandths of a spread."""
        return int(self.snapshot.z(self.name)[index, QUANTILE_COLUMN[quantile]])

    def sending(self, index: int) -> AbstractContextManager[None] | None:
        """Begin to count a call that goes to another site; None for an own deployment, where arrivals are counted."""
        if index in self.mine:
            return None
        sending = self.snapshot.sending(index)
        sending.__enter__()
        return sending

    def distrust(self, index: int, now_us: int) -> None:
        """Forget a deployment that gave no answer, and all of its site if that is another."""
        site = self.fleet.deployments[index].site
        for other, card in enumerate(self.fleet.deployments):
            if other == index or (card.site == site and site != self.name):
                self.snapshot.distrust(other, now_us)

    def exchange(self, places: list["Place"], report_of: Callable[[int, Report], Report], now_us: int) -> None:
        """Tell and hear. `report_of` puts the truth of now into what is told of an own deployment."""
        self.told = {index: report_of(index, self.estimates.report(index, 0)) for index in self.mine}
        self.told_us = now_us
        for place in places:
            for index, report in place.told.items():
                self.snapshot.hear(index, report, place.told_us)
        self.estimates.tell(self.snapshot)
        self.snapshot.believe(now_us)
