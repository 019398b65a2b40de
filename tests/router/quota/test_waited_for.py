"""A call that has to wait for the ledger: inside its deadline, and decided anew when it has waited."""

import asyncio
from dataclasses import dataclass

import pytest

from infercast.policies import kernel
from infercast.policies.model import Request
from infercast.router.conduct.endings import Carrying
from infercast.router.conduct.open import UNLIMITED
from infercast.router.conduct.ports import Carried, Hold
from infercast.router.errors import Kind, Trouble
from tests.router.fakes import Scene, ask, scene


@dataclass
class Waits:
    """Accounts that wait until they are let go, and a fleet that changes meanwhile."""

    at: Scene | None = None
    gone: int | None = None
    for_ever: bool = False

    def look(self, request: Request) -> None:
        """Let it pass."""

    async def open(self, call: Carried, carrying: Carrying) -> Hold:
        """Wait, and let a deployment fall ill."""
        await asyncio.sleep(0)
        if self.for_ever:
            await asyncio.Event().wait()
        if self.at is not None and self.gone is not None:
            self.at.snapshot.live[self.gone, kernel.L_HEALTHY] = 0
            self.at.snapshot.refresh()
        return UNLIMITED


def test_what_was_decided_before_the_wait_is_decided_again() -> None:
    waits = Waits()
    at = scene(accounts=waits)
    waits.at = at
    best = at.caller.engine.explain(ask(payload_bytes=2), at.snapshot).chosen
    assert best is not None
    waits.gone = at.caller.fleet.deployment_index[best]
    answered = asyncio.run(at.caller.call(ask(payload_bytes=2), at.body))
    assert answered.deployment != best
    assert best not in at.runner.tried


def test_no_call_waits_beyond_its_deadline() -> None:
    at = scene(accounts=Waits(for_ever=True))
    with pytest.raises(Trouble) as caught:
        asyncio.run(asyncio.wait_for(at.caller.call(ask(deadline_us=50_000), at.body), 30))
    assert caught.value.kind is Kind.DEADLINE
    line = at.journal.only()
    assert (line["outcome"], line["reason"], line["attempts"], line["cost_usd"]) == ("failed", "deadline", [], 0.0)
