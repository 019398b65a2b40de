"""One entry of the example fleet on a loop without waiting: everything is heard of as well, four times a second."""

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from infercast.policies.engine import Engine
from infercast.policies.policy import Policy
from infercast.policies.snapshot import Report, Snapshot
from infercast.router.api import Api
from infercast.router.conduct.caller import Caller
from infercast.router.conduct.endings import Answered
from infercast.router.conduct.open import UNLIMITED
from infercast.router.conduct.ports import Received
from infercast.router.conduct.recorder import Recorder
from infercast.router.errors import Trouble
from tests.router.fakes import FakeJournal, FakeLog, ask, estimates_at, example_fleet
from tests.router.timeless import Play, Player, Purse, Timeless, left_behind, timeless

BEGAN_US = 10**9
ONLY = "digits-small@fra"


@dataclass
class Entry:
    """A caller in Frankfurt for one tenant, with what it left behind. `only` is the one deployment that is well, if named."""

    loop: Timeless
    behaviour: dict[str, Any]
    plays: list[Play]
    only: str | None = None
    money: Purse | None = None
    luck: float = 0.5
    journal: FakeJournal = field(default_factory=FakeJournal)
    log: FakeLog = field(default_factory=FakeLog)
    caller: Caller = field(init=False)
    player: Player = field(init=False)

    def __post_init__(self) -> None:
        fleet = example_fleet()
        self.snapshot = Snapshot(fleet)
        self.hear()
        self.player = Player(fleet, self.loop, self.plays)
        self.estimates = estimates_at("fra", fleet)
        recorder = Recorder("fra", fleet, self.snapshot, self.log, self.journal)
        parts = (self.snapshot, self.estimates, self.player, recorder, self.journal)
        accounts = UNLIMITED if self.money is None else self.money
        self.caller = Caller("fra", self.engine(**self.behaviour), *parts, accounts=accounts)
        self.caller.attempts._draw = lambda: self.luck

    def engine(self, **behaviour: Any) -> Engine:
        """An engine for one tenant that wants to be carried so."""
        policy = {"version": 1, "tenant": "studio", "classes": {"gameplay": {}}, "behaviour": behaviour}
        return Engine(example_fleet(), {"studio": Policy.model_validate(policy)})

    def hear(self) -> None:
        """Let each deployment say how it is."""
        for index, deployment in enumerate(example_fleet().deployments):
            well = self.only is None or deployment.id == self.only
            self.snapshot.hear(index, Report(0, 1_000, 2_000, healthy=well), self.loop.now_us())
        self.snapshot.believe(self.loop.now_us())

    async def _exchange(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            self.estimates.tell(self.snapshot)
            self.hear()

    async def call(self, **parts: Any) -> Answered | Trouble:
        """Carry one call."""
        api, stream = parts.pop("api", Api.INFER), parts.pop("stream", False)

        async def receive() -> Received:
            return Received(b"{}", api=api, stream=stream)

        try:
            return await self.caller.call(ask(**parts), receive)
        except Trouble as trouble:
            return trouble

    def carry(self, **parts: Any) -> Answered | Trouble:
        """Carry one call on the loop, to its end, and see to it that nothing is left behind."""
        ended: Answered | Trouble = self.run(self.call(**parts))
        return ended

    def run(self, work: Awaitable[Any]) -> Any:
        """Run something while signals are exchanged."""

        async def around() -> Any:
            exchange = asyncio.create_task(self._exchange())
            try:
                return await work
            finally:
                exchange.cancel()

        done = self.loop.run_until_complete(around())
        assert left_behind(self.loop) == set()
        return done

    @property
    def waits_ms(self) -> list[float]:
        """When each try began, from the first on."""
        return [(made.began_us - self.player.made[0].began_us) / 1000 for made in self.player.made]


@contextmanager
def entry(*plays: Play | str, only: str | None = None, money: Purse | None = None, **behaviour: Any) -> Iterator[Entry]:
    """An entry whose runner plays so."""
    with timeless(BEGAN_US) as loop:
        yield Entry(loop, behaviour, [Play(one) if isinstance(one, str) else one for one in plays], only, money)
