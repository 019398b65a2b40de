"""Law 2 for kept answers: none is given that the policy in force would not let be made for this call, nor kept where it may not be.

Random worlds, in which policies change, time passes and signals come, are told to a cache; what it gives is held against
the files' vetoes as `oracle.py` says them, and against a fresh decision.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given

from infercast.policies.engine import Engine
from infercast.policies.model import Choice, Outcome, Request
from infercast.policies.policy import Policy
from infercast.router.cache import answers, keeping
from infercast.router.cache.answers import AnswerCache
from infercast.router.conduct.deciding import Deciding
from infercast.router.conduct.endings import Answered
from infercast.router.conduct.ports import Received
from infercast.router.errors import Trouble
from tests.laws.oracle import binding, may_enter, may_run, permitted
from tests.laws.worlds import (
    DAY_S,
    SEEDS,
    Dice,
    Raw,
    World,
    call_from,
    fleet_from,
    learned_from,
    policy_from,
    signals_from,
)
from tests.router.cache.scenes import Numbering, question
from tests.router.fakes import Clock, scene

BEGAN_S = 1_000
STEPS = 40
TTLS_S = (5, 3_600, 20 * DAY_S)


@dataclass
class Made:
    """An answer that was made: for which call, by whom, when, of which question and key."""

    request: Request
    deployment: str
    at_s: int
    question: float
    holder: str


@dataclass
class Story:
    """A cache in a random world, and what it has done wrong."""

    world: World
    dice: Dice
    policies: list[Raw]
    wrong: list[str] = field(default_factory=list)
    hits: int = 0

    def tell(self) -> None:
        """Play it."""
        self.clock = Clock(BEGAN_S * 1_000_000)
        self.began_s = int(self.world.call["at_s"])
        engine = self._engine(self.policies[0])
        self.at = scene(entry=self.world.call["entry"], engine=engine, snapshot=self.world.snapshot(engine.fleet))
        caller = self.at.caller
        self.runner = Numbering(engine.fleet)
        caller.attempts.runner = self.runner
        caller.cache = self.cache = AnswerCache(caller.deciding)
        self.made: dict[bytes, Made] = {}
        with self.clock.rules(), patch("time.time", lambda: float(self._now_s)):
            for _ in range(STEPS):
                self._step()
                self._look_at_the_store()

    @property
    def _now_s(self) -> int:
        """The time of day; 0 throughout where nobody knows it."""
        return self.began_s and self.began_s + self.clock.now_us // 1_000_000 - BEGAN_S

    def _engine(self, policy: Raw) -> Engine:
        self.world = self.world.but(policy=policy)
        return self.world.engine()

    def _step(self) -> None:
        dice = self.dice
        kind = dice.of("call", "call", "call", "call", "call", "time", "policy", "signals")
        if kind == "time":
            self.clock.now_us += dice.of(1, 4, 1_800, DAY_S) * 1_000_000
            self.cache.sweep()
        elif kind == "policy":
            self.at.caller.install(self._engine(dice.choice(self.policies)), None)
        elif kind == "signals":
            other = self.world.but(signals=signals_from(dice.randint(0, 2**32), self.world.fleet))
            self.at.caller.deciding.snapshot = other.snapshot(self.at.caller.fleet)
        else:
            self._call()

    def _call(self) -> None:
        dice, places = (
            self.dice,
            [self.world.call["entry"], "zone", *(site["id"] for site in self.world.fleet["sites"])],
        )
        call = {
            **self.world.call,
            "origin": dice.of(self.world.call["origin"], self.world.call["origin"], dice.choice(places)),
            "classes": dice.of(self.world.call["classes"], self.world.call["classes"], [], ["plain"], ["health"]),
            "at_s": self._now_s,
            "deadline_us": 0,
            "id": f"c{dice.randint(0, 9)}",
        }
        self.world = self.world.but(call=call)
        asked, holder, request = dice.of(0.0, 0.0, 1.0), dice.of("k1", "k1", "k2"), self.world.request()

        async def receive() -> Received:
            return Received(question(asked))

        try:
            answered = asyncio.run(self.at.caller.call(request, receive, (), holder))
        except Trouble:
            return
        if answered.freshness is not None and answered.freshness.how == "hit":
            self._hit(answered, request, asked, holder)
        else:
            made = Made(request, answered.deployment, self.clock.now_us // 1_000_000, asked, holder)
            self.made[answered.answer.body] = made

    def _hit(self, answered: Answered, request: Request, asked: float, holder: str) -> None:
        self.hits += 1
        world, fleet, made = self.world, self.at.caller.fleet, self.made[answered.answer.body]
        cache = world.policy["behaviour"]["cache"]
        age_s = self.clock.now_us // 1_000_000 - made.at_s
        engine = world.engine()
        sized = replace(request, payload_bytes=len(question(asked)))
        fresh = engine.explain(sized, self.at.caller.snapshot).outcome
        self._held(may_enter(world, fleet, request.entry), "it may not enter")
        self._held(made.deployment == answered.deployment, "somebody else made it")
        self._held(may_run(world, fleet, answered.deployment), f"{answered.deployment} may not run it")
        self._held(fresh is not Outcome.REFUSED, "a fresh decision refuses it")
        self._held(self._may_be_stored(world), "nothing of it may be stored here")
        self._held(age_s < min([cache["ttl_s"], *self._retention_s(world)]), f"it is {age_s} s old")
        self._held((made.request.classes, made.request.model) == (request.classes, request.model), "of another kind")
        self._held(made.question == asked, "another question's")
        self._held(cache["scope"] == "tenant" or made.holder == holder, "another key's")

    def _look_at_the_store(self) -> None:
        """What is kept may be kept by the policy in force now, at this hour, for the call that it was made for."""
        for kept in self.cache.store:
            world = self.world.asking(
                classes=list(kept.request.classes), origin=kept.request.origin, model=kept.request.model
            )
            self._held(self._may_be_stored(world.asking(at_s=self._now_s)), "something is kept that may not be")

    def _may_be_stored(self, world: World) -> bool:
        country = self.at.caller.fleet.country_of(world.call["entry"])
        storage = [block.get("residency", {}).get("storage") for block in binding(world)]
        return all(permitted(part, country) for part in storage) and 0 not in self._retention_s(world)

    def _retention_s(self, world: World) -> list[int]:
        days = [block.get("privacy", {}).get("retention_days_max") for block in binding(world)]
        return [most * DAY_S for most in days if most is not None]

    def _held(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.wrong.append(otherwise)


def story(seed: int) -> Story:
    """A world where calls mostly pass, its cache and two policies that are tighter in places, told."""
    dice = Dice(seed)
    fleet = fleet_from(dice.randint(0, 2**62))
    call = call_from(dice.randint(0, 2**62), fleet)
    policies = [policy_from(dice.randint(0, 2**62)) for _ in range(3)]
    for policy in policies:
        policy["behaviour"]["cache"] = {"ttl_s": dice.of(*TTLS_S), "scope": dice.of("tenant", "tenant", "key")}
        _tighten(dice, policy)
        Policy.model_validate(policy)
    world = World(fleet, policies[0], signals_from(dice.randint(0, 2**62), fleet), call, learned_from(seed, fleet))
    told = Story(world, dice, policies)
    told.tell()
    return told


def _tighten(dice: Dice, policy: Raw) -> None:
    """Let classes, and what differs by the hour, be such as may not be stored somewhere, or not for long, or computed somewhere."""
    extra = [each["constraints"] for each in policy["overrides"] if each["constraints"] is not None]
    for block in (*policy["classes"].values(), *extra):
        what = dice.of("", "", "storage", "retention", "processing", "accuracy")
        if what in ("storage", "processing"):
            block["residency"][what] = {"allow": dice.of(["DE"], ["FR", "US"], ["europe"], []), "deny": []}
        elif what == "retention":
            block["privacy"]["retention_days_max"] = dice.of(0, 1, 30)
        elif what == "accuracy":
            block["accuracy_min"] = {"m0": dice.of(0.9, 0.95)}


@given(SEEDS)
def test_no_answer_is_given_or_kept_that_the_policy_in_force_forbids(seed: int) -> None:
    assert story(seed).wrong == []


def test_the_stories_have_hits_and_refusals_of_hits() -> None:
    told = [story(seed) for seed in range(60)]
    assert sum(each.hits for each in told) > 60
    assert sum(bool(each.hits) for each in told) > 15


@contextmanager
def replaced(owner: Any, name: str, by: Any) -> Iterator[None]:
    with patch.object(owner, name, by):
        yield


def _never_vetoes(self: Deciding, request: Request, index: int) -> Choice | None:
    return self.engine.choose(request, self.snapshot)


FAULTS: dict[str, tuple[Callable[[], Any], str]] = {
    "whoever made it is not asked about": (lambda: replaced(Deciding, "again", _never_vetoes), "may not run it"),
    "storage is not asked about": (
        lambda: replaced(keeping, "keeping_s", lambda blocks, country, ttl_s, fleet: ttl_s),
        "nothing of it may be stored here",
    ),
    "new policies are not held against what is kept": (
        lambda: replaced(AnswerCache, "judge", lambda self: self._keeping.forget()),
        "something is kept that may not be",
    ),
    "windows of time are not looked at": (
        lambda: patch.object(answers, "min", lambda *parts: parts[0] if len(parts) == 2 else min(parts), create=True),
        "something is kept that may not be",
    ),
    "classes are not told apart": (lambda: _keyed(classes=()), "of another kind"),
    "keys are not told apart": (lambda: _keyed(holder=""), "another key's"),
    "questions are not told apart": (lambda: _keyed(digest=b""), "another question's"),
}


def _keyed(**parts: Any) -> Any:
    plain = answers._key
    return replaced(answers, "_key", lambda *facts: plain(*facts)._replace(**parts))


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(fault: str) -> None:
    planted, said = FAULTS[fault]
    with planted():
        assert any(said in wrong for seed in range(150) for wrong in story(seed).wrong)
