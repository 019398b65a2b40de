"""What nobody calls stays known, and what is taken for slow does not stay so for want of a call."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from infercast.policies.estimates import Estimates
from infercast.policies.snapshot import Snapshot
from infercast.router.api import Asked
from infercast.router.conduct.ports import Lost
from infercast.router.conduct.probing import PROBE_S, QUIET_US, Probing, Quiet, Ways
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from infercast.router.runtime.load import Loads
from infercast.router.runtime.probes import IDLE_FACTOR, SLOW_IDLE_FACTOR, SLOW_IDLE_US_MIN, due, due_when_slow
from tests.router.fakes import Clock, estimates_at, example_fleet

FLEET = example_fleet()
OWN, OTHER, FAR = (FLEET.deployment_index[name] for name in ("squeezenet@fra", "digits-large@fra", "digits-small@sin"))
BEGIN_US = 1_000_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of loads and probes; it moves by hand."""
    clock = Clock(BEGIN_US)
    for module in ("runtime.load", "conduct.probing"):
        monkeypatch.setattr(f"infercast.router.{module}.now_us", clock)
    return clock


@dataclass
class Site:
    """Frankfurt with two deployments; what runs there takes so many times the declared median, or ends as the test says."""

    clock: Clock
    slower: int = 1
    ends: Exception | None = None
    ran: list[tuple[int, int]] = field(default_factory=list)
    estimates: Estimates = field(default_factory=lambda: estimates_at("fra"))
    quiet: Quiet = field(default_factory=Quiet)

    def __post_init__(self) -> None:
        self.loads = Loads(FLEET, Snapshot.declared(FLEET), self.estimates, [OWN, OTHER])
        self.probing = Probing(FLEET, self.estimates, self.loads, self.quiet, [OWN, OTHER], self.run)

    async def run(self, index: int, asked: Asked, timeout_s: float) -> Answer:
        """Run one call."""
        assert timeout_s == PROBE_S
        self.ran.append((index, self.clock.now_us))
        took_us = self.slower * int(FLEET.tables.priors_us[index, 0])
        with self.loads.running(index, len(asked.body)) as ran:
            self.clock.now_us += took_us
            if self.ends is not None:
                raise self.ends
            ran(took_us)
        return Answer(b"", None, "", "fra", took_us)

    def seconds(self, count: int) -> list[tuple[int, int]]:
        """Let seconds pass, with a round of probes after each; what ran."""
        before = len(self.ran)
        for _ in range(count):
            self.clock.now_us += 1_000_000
            asyncio.run(self.probing.round())
        return self.ran[before:]

    def give_up(self, index: int = OWN, calls: int = 40) -> int:
        """Let calls be given up; the p95 of their surprise."""
        for _ in range(calls):
            self.estimates.gave_up(index, 200_000, 20_000, 15_000)
        assert self.estimates.slow(index)
        return self.z95(index)

    def z95(self, index: int = OWN) -> int:
        return self.estimates._surprise.z_milli(index)[2]


def test_what_is_idle_is_probed_every_five_seconds_or_so(clock: Clock) -> None:
    site = Site(clock)
    own = [at_us for index, at_us in site.seconds(60) if index == OWN]
    p50_us = site.loads.report(OWN).p50_us
    assert all(later - earlier >= max(5_000_000, IDLE_FACTOR * p50_us) for earlier, later in pairwise(own))
    assert len(own) >= 2


def test_what_is_believed_too_slow_is_probed_each_second_and_is_soon_believed_well_again(clock: Clock) -> None:
    site = Site(clock)
    site.seconds(10)
    before = site.give_up()
    own = [at_us for index, at_us in site.seconds(10) if index == OWN]
    assert len(own) >= 8
    assert site.z95() < before / 5
    site.seconds(20)
    assert not site.estimates.slow(OWN)


@pytest.mark.parametrize("ends", [Lost("gone"), Trouble(Kind.BAD_REQUEST, "no"), TimeoutError()])
def test_a_probe_that_brings_nothing_is_no_evidence(clock: Clock, ends: Exception) -> None:
    site = Site(clock, ends=ends)
    before = site.give_up()
    assert site.seconds(30)
    assert site.z95() == before


def test_a_probe_that_is_late_is_no_evidence(clock: Clock) -> None:
    site = Site(clock, slower=10)
    before = site.give_up()
    assert [index for index, _ in site.seconds(5)].count(OWN) > 0
    assert site.z95() == before


def test_time_alone_is_no_evidence(clock: Clock) -> None:
    site = Site(clock)
    before = site.give_up()
    clock.now_us += 3_600_000_000
    assert site.z95() == before


def test_what_is_called_is_spoken_for_by_its_calls(clock: Clock) -> None:
    site = Site(clock)
    before = site.give_up()
    with site.quiet.calling(OWN):
        assert site.seconds(20)
        assert site.z95() == before
    site.seconds(QUIET_US // 1_000_000 - 1)
    assert site.z95() == before
    site.seconds(3)
    assert site.z95() < before


def test_one_deployments_probe_says_nothing_of_another(clock: Clock) -> None:
    site = Site(clock)
    before = site.give_up(FAR)
    site.seconds(30)
    assert site.z95(FAR) == before


def test_probes_of_what_is_slow_take_two_percent_of_it_at_most() -> None:
    for took_us in (0, 1_000, 20_000, 100_000, 2_000_000):
        assert not due_when_slow(max(SLOW_IDLE_US_MIN, SLOW_IDLE_FACTOR * took_us) - 1, took_us)
        assert due_when_slow(max(SLOW_IDLE_US_MIN, SLOW_IDLE_FACTOR * took_us), took_us)
    assert not due(4_999_999, 1)


def well(_: int) -> bool:
    """Say of every deployment that it is healthy."""
    return True


def ill(_: int) -> bool:
    """Say of every deployment that it is not."""
    return False


def far(clock: Clock) -> tuple[Site, Ways, int]:
    """Frankfurt, which has given up calls to Singapore."""
    site = Site(clock)
    ways = Ways(FLEET, site.estimates, site.quiet, [OWN, OTHER])
    before = site.give_up(FAR)
    assert ways.slow("sin")
    assert not ways.slow("iad")
    return site, ways, before


def test_a_way_that_is_good_speaks_once_for_what_is_healthy_behind_it(clock: Clock) -> None:
    site, ways, before = far(clock)
    ways.came("sin", 100, 100)
    ways.reassure(well)
    once = site.z95(FAR)
    assert once < before
    ways.reassure(well)
    assert site.z95(FAR) == once


@pytest.mark.parametrize(("trip_us", "place", "healthy"), [(101, "sin", well), (100, "iad", well), (100, "sin", ill)])
def test_a_late_trip_another_way_or_a_place_that_is_ill_speaks_for_nothing(
    clock: Clock, trip_us: int, place: str, healthy: Callable[[int], bool]
) -> None:
    site, ways, before = far(clock)
    ways.came(place, trip_us, 100)
    ways.reassure(healthy)
    assert site.z95(FAR) == before


def test_a_way_whose_last_trip_was_late_is_not_good(clock: Clock) -> None:
    site, ways, before = far(clock)
    ways.came("sin", 100, 100)
    ways.came("sin", 101, 100)
    ways.reassure(well)
    assert site.z95(FAR) == before


def test_a_way_does_not_speak_for_what_is_called(clock: Clock) -> None:
    site, ways, before = far(clock)
    with site.quiet.calling(FAR):
        assert not ways.slow("sin")
        ways.came("sin", 100, 100)
        ways.reassure(well)
    assert site.z95(FAR) == before
