"""Random worlds in which calls are carried: faults at the runner, policies replaced on the way, money that takes its time."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Report
from infercast.router.conduct.caller import Caller
from infercast.router.conduct.ports import Carried, Received
from infercast.router.conduct.recorder import Recorder
from tests.laws.oracle import may_run
from tests.laws.worlds import COUNTRIES, NOW_US, Raw, World, names_of, policy_from
from tests.router.fakes import FakeJournal, FakeLog, estimates_at
from tests.router.timeless import WORDS, Play, Player, Purse, Timeless, timeless
from tests.support import link

FAULTS = [*WORDS, "broken", "broken", "full", "lost", "fault"]
AFTER_MS = [0.0, 3.0, 40.0, 40.0, 40.0, 41.0, 160.0, 160.0, 700.0, 10_000.0]
EXCHANGE_S = 0.25


@dataclass(frozen=True)
class Trials:
    """What happens in a run: how calls are carried, what each try plays, when policies are replaced and signals exchanged."""

    clear: bool
    behaviour: Raw
    plays: list[Play]
    replaced_ms: float | None
    replaced_by: Raw
    money_ms: float | None
    opens_ms: float | None
    tries_max: int
    calls: int
    every_ms: float
    cancelled_ms: float | None


def trials_from(seed: int) -> Trials:
    """Draw one, mostly of faults."""
    dice = Random(seed)
    hedge = {"after_quantile": dice.choice(["p50", "p95"]), "budget_share": dice.choice([1.0, 1.0, 0.5])}
    behaviour = {
        "fallbacks_max": dice.choice([0, 1, 1, 4, 4, 7]),
        "retries_max": dice.choice([0, 1, 2, 7]),
        "hedge": dice.choice([None, hedge, hedge, hedge, hedge]),
    }
    return Trials(
        clear=dice.random() < 5 / 6,
        behaviour=behaviour,
        plays=dice.choice([_mixed, _mixed, _mixed, _streak])(dice),
        replaced_ms=dice.choice([None, 0.05, 2.0, 10.0, 30.0, 100.0]),
        replaced_by={**dice.choice([_strict, _strict, _any])(dice), "behaviour": behaviour},
        money_ms=dice.choice([None, None, 0.0, 5.0, 40.0]),
        opens_ms=dice.choice([None, None, 0.0, 5.0, 40.0]),
        tries_max=dice.choice([10**6, 10**6, 10**6, 1, 2]),
        calls=dice.choice([2, 6, 6, 12]),
        every_ms=dice.choice([0.0, 0.0, 20.0, 300.0]),
        cancelled_ms=dice.choice([None] * 8 + [0.0, 1.0, 30.0, 50.0]),
    )


def clearer(world: World) -> World:
    """The same world on a good day: signals fresh and well, no deadline of the call's, its policy less strict."""
    mild = {"residency": {"processing": {"deny": ["US"]}}}
    policy = {**world.policy, "always": {}, "classes": {"health": mild, "plain": mild}, "overrides": []}
    sites = [{**site, "country": site["country"] if at else "DE"} for at, site in enumerate(world.fleet["sites"])]
    links = [link("s0", site["id"], 1.0, "DE") for site in sites[1:]]
    zones = [{**zone, "peer": False, "onward": False} for zone in world.fleet["zones"]]
    fleet = {**world.fleet, "sites": sites, "links": links, "zones": zones, "deployments": _spread_out(world)}
    signals = {name: [0, 500, 2_000, 1, 0] for name in names_of(fleet)}
    call = {**world.call, "deadline_us": 0, "payload_bytes": 0, "entry": "s0", "origin": "s0"}
    return world.but(fleet=fleet, policy=policy, signals=signals, call=call, learned={"rtt": [], "z": []})


def _spread_out(world: World) -> list[Raw]:
    """A deployment of the first variant at each site more, where there is none."""
    there = set(names_of(world.fleet))
    more = [
        {"variant": "m0v0", "site": site["id"], "hosted": "own", "replicas": 1, "concurrency": 4, "queue_max": 64}
        for site in world.fleet["sites"]
        if f"m0v0@{site['id']}" not in there and "upstream" not in site
    ]
    return [*world.fleet["deployments"], *more]


def _strict(dice: Random) -> Raw:
    """A policy that forbids most of what was allowed."""
    only = {"residency": {"processing": {"allow": [dice.choice(COUNTRIES[:-1])]}}}
    return {"version": 1, "tenant": "t", "always": only, "classes": {"health": {}, "plain": {}}, "overrides": []}


def _any(dice: Random) -> Raw:
    return policy_from(dice.randint(0, 2**62))


def _mixed(dice: Random) -> list[Play]:
    return [Play(dice.choice(FAULTS), dice.choice(AFTER_MS)) for _ in range(dice.randint(2, 16))]


def _streak(dice: Random) -> list[Play]:
    """For a while everything fails alike: circuits open."""
    return [Play(dice.choice(["broken", "fault", "lost"]), dice.choice([0.0, 0.1, 3.0]))] * dice.randint(10, 60)


@dataclass
class Run:
    """A world with its entry, in which policies may be replaced."""

    world: World
    trials: Trials
    loop: Timeless
    fleet: Fleet = field(init=False)
    caller: Caller = field(init=False)
    player: Player = field(init=False)
    journal: FakeJournal = field(default_factory=FakeJournal)
    log: FakeLog = field(default_factory=FakeLog)
    purses: list[Purse] = field(default_factory=list)
    in_force: World = field(init=False)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        policy = {**self.world.policy, "behaviour": self.trials.behaviour}
        self.in_force = self.world.but(policy=policy, tried=())
        engine = self.in_force.engine()
        self.fleet = engine.fleet
        snapshot = self.in_force.snapshot(self.fleet)
        self.player = Player(self.fleet, self.loop, list(self.trials.plays), each=self.made)
        entry = self.world.call["entry"]
        recorder = Recorder(entry, self.fleet, snapshot, self.log, self.journal)
        parts = (snapshot, estimates_at(entry, self.fleet), self.player, recorder, self.journal)
        self.caller = Caller(entry, engine, *parts, accounts=self)

    def look(self, request: Any) -> None:
        """Let everybody in."""

    def open(self, call: Carried, carrying: Any) -> Purse | Awaitable[Purse]:
        """Give each call a purse of its own."""
        return self._opened() if self.trials.opens_ms is None else self._opened_later(self.trials.opens_ms)

    def _opened(self) -> Purse:
        self.purses.append(Purse(self.trials.money_ms, self.trials.tries_max))
        return self.purses[-1]

    async def _opened_later(self, wait_ms: float) -> Purse:
        await asyncio.sleep(wait_ms / 1000)
        return self._opened()

    def made(self, index: int, call: Carried) -> None:
        """Hold a try against the files that are in force now."""
        name = self.fleet.deployments[index].id
        if not may_run(self.in_force, self.fleet, name):
            self.wrong.append(f"{name}, try {len(self.player.made)}")

    async def replace(self) -> None:
        """Put the other policy in force, while calls are on their way."""
        if self.trials.replaced_ms is not None:
            await asyncio.sleep(self.trials.replaced_ms / 1000)
            self.in_force = self.in_force.but(policy=self.trials.replaced_by)
            policy = Policy.model_validate(self.trials.replaced_by)
            self.caller.install(Engine(self.fleet, {policy.tenant: policy}), None)

    async def exchange(self) -> None:
        """Let all that was heard once go on to say that it is well: what failed comes back."""
        while True:
            await asyncio.sleep(EXCHANGE_S)
            for name, signal in self.world.signals.items():
                if signal is not None:
                    report = Report(0, signal[1], signal[2])
                    self.caller.snapshot.hear(self.fleet.deployment_index[name], report, self.loop.now_us())
            self.caller.snapshot.believe(self.loop.now_us())

    async def one(self) -> object:
        """Carry one call, perhaps cancelled on its way; what it ended in."""

        async def receive() -> Received:
            return Received(
                b"x" * self.world.call["payload_bytes"] if self.world.call["payload_bytes"] < 2000 else b"{}"
            )

        async def carried() -> str:
            answered = await self.caller.call(self.in_force.request(), receive)
            if answered.answer.stream is not None:
                await answered.answer.stream.aclose()
            return answered.deployment

        call = asyncio.create_task(carried())
        if self.trials.cancelled_ms is not None:
            asyncio.get_running_loop().call_later(self.trials.cancelled_ms / 1000, call.cancel)
        (ended,) = await asyncio.gather(call, return_exceptions=True)
        return ended

    async def after(self, wait_ms: float) -> object:
        """Carry one call after a while."""
        if wait_ms:
            await asyncio.sleep(wait_ms / 1000)
        return await self.one()

    async def all(self) -> list[object]:
        """Carry all calls at once."""
        around = [asyncio.create_task(self.replace()), asyncio.create_task(self.exchange())]
        try:
            return list(
                await asyncio.gather(*(self.after(turn * self.trials.every_ms) for turn in range(self.trials.calls)))
            )
        finally:
            for task in around:
                task.cancel()


@contextmanager
def played(world: World, trials: Trials) -> Iterator[tuple[Run, list[object]]]:
    """Play a run to its end, two in three on a good day: in most worlds that are drawn, little may run anywhere."""
    with timeless(NOW_US) as loop:
        run = Run(clearer(world) if trials.clear else world, trials, loop)
        yield run, loop.run_until_complete(run.all())
