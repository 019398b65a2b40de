"""Laws 2 and 8 on every path of a call: first try, retry, fallback and hedge, in random worlds with random faults.

Each try is held against the files alone, told by another mouth (`oracle.py`), with the policy that is in force at the very
moment that it is made: policies are replaced while calls are on their way. And whatever happens, a call ends once, each of
its tries is settled once, and nothing of it goes on.
"""

import asyncio
from random import Random

import pytest
from hypothesis import given

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.patience import DEADLINE_DEFAULT_US
from infercast.policies.policy import Policy
from infercast.policies.record import request_from_json
from infercast.policies.snapshot import Snapshot
from infercast.router.errors import Trouble
from tests.laws.conduct import played, trials_from
from tests.laws.worlds import SEEDS, World, call_from, fleet_from, learned_from, policy_from, signals_from, worlds
from tests.router.timeless import left_behind

ENDS = (str, Trouble, RuntimeError, asyncio.CancelledError)
PAID = ("ok", "stream", "Lost", "Broken", "TimeoutError", "CancelledError", "RuntimeError")
"""How a try may end that has perhaps run."""


@given(worlds(), SEEDS)
def test_every_try_is_allowed_at_the_moment_that_it_is_made(world: World, seed: int) -> None:
    with played(world, trials_from(seed)) as (run, _):
        assert run.wrong == []


@given(worlds(), SEEDS)
def test_every_call_ends_once_and_leaves_nothing_behind(world: World, seed: int) -> None:
    trials = trials_from(seed)
    with played(world, trials) as (run, ended):
        assert left_behind(run.loop) == set()
        lines = run.journal.of("call")
        began = [each for each in ended if not isinstance(each, asyncio.CancelledError)]
        assert len(began) <= len(lines) <= len(ended), "a task that is cancelled before its first step was no call yet"
        answered = [line for line in lines if line["outcome"] == "answered" or line["reason"] == "gone"]
        assert len(answered) == len([each for each in ended if isinstance(each, str)])
        assert [each for each in ended if not isinstance(each, ENDS)] == []
        assert all("everybody waits" not in str(each) for each in ended)
        assert all(made.ended_us >= 0 for made in run.player.made), "no try goes on when its call has ended"
        streams = [made.stream for made in run.player.made if made.stream is not None]
        assert all(stream.closed for stream in streams)
        snapshot = run.caller.snapshot
        assert not any((view[kernel.V_SHUT] & kernel.SHUT_TRIED).any() for view in snapshot._views.values())
        assert not any(circuit.trying for circuit in run.caller.attempts.circuits._circuits.values())


@given(worlds(), SEEDS)
def test_every_try_is_settled_once(world: World, seed: int) -> None:
    """What is set aside for a try is the answer's, or lost once; what is still aside at the end was never sent."""
    with played(world, trials_from(seed)) as (run, _):
        left_behind(run.loop)
        lines = run.journal.of("call")
        for purse in run.purses:
            assert purse.ends == 1
            rest = list(purse.asides)
            for aside, cost in purse.losses:
                rest.remove(aside)  # raises where more is lost than was set aside
                assert 0 <= cost <= aside
            assert len(rest) <= 1 if run.trials.money_ms is None else len(rest) <= 3
        spent = [tuple(one) for line in lines for one in line["spent"]]
        paid = [how for how in (made.how for made in run.player.made) if how in PAID]
        assert len(spent) == len(paid), "each try that may have run is paid once, wherever it ended"


@given(worlds(), SEEDS)
def test_no_more_is_tried_than_the_policy_says(world: World, seed: int) -> None:
    trials = trials_from(seed)
    with played(world, trials) as (run, _):
        behaviour = run.trials.behaviour
        for line in run.journal.of("call"):
            tried = line["attempts"]
            assert len(set(tried)) <= behaviour["fallbacks_max"] + 1, "a hedge is one of the further candidates"
            assert all(tried.count(name) <= behaviour["retries_max"] + 1 for name in tried)
        hedging, counts = run.caller.attempts.hedging, run.caller.attempts.counts
        if behaviour["hedge"]:
            assert hedging.sent <= behaviour["hedge"]["budget_share"] * trials.calls
        assert counts.retries <= 10 + trials.calls


@given(worlds(), SEEDS)
def test_every_call_ends_in_time(world: World, seed: int) -> None:
    with played(world, trials_from(seed)) as (run, _):
        for line in run.journal.of("call"):
            assert line["took_us"] <= (run.world.call["deadline_us"] or DEADLINE_DEFAULT_US) + 2000


@given(worlds(), SEEDS)
def test_every_decision_on_the_way_can_be_made_again(world: World, seed: int) -> None:
    """Open circuits included: they are part of an epoch's state."""
    with played(world, trials_from(seed)) as (run, _):
        engines = {}
        for raw in ({**run.world.policy, "behaviour": run.trials.behaviour}, run.trials.replaced_by):
            policy = Policy.model_validate(raw)
            engines[policy.digest] = Engine(run.fleet, {policy.tenant: policy})
        for record in run.log.records:
            engine = engines[record["policy"]]
            snapshot = Snapshot.restored(run.fleet, run.log.states[record["epoch"]])
            snapshot.apply(record["patch"])
            decision = engine.explain(request_from_json(record["request"]), snapshot, record["tried"])
            assert (decision.id, str(decision.outcome)) == (record["id"], record["outcome"])
            order = [name for name in (decision.chosen, *decision.alternatives) if name is not None]
            found = [run.fleet.deployment_index[name] for name in order]
            assert found[: len(record["chosen"])] == record["chosen"]


@pytest.mark.parametrize("path", ["retries", "fallbacks", "hedges", "circuits"])
def test_the_random_worlds_do_go_down_each_path(path: str) -> None:
    """Else the tests above would say little."""
    dice, found = Random(5), 0
    for _ in range(400):
        world = _world(dice)
        with played(world, trials_from(dice.randint(0, 2**62))) as (run, _):
            attempts = run.caller.attempts
            found += {
                "retries": attempts.counts.retries,
                "fallbacks": attempts.counts.fallbacks,
                "hedges": attempts.hedging.sent,
                "circuits": attempts.circuits.opened,
            }[path]
        if found > 5:
            return
    pytest.fail(f"{found} {path} in 400 worlds")


def _world(dice: Random) -> World:
    fleet = fleet_from(dice.randint(0, 2**62))
    parts = (signals_from(dice.randint(0, 2**62), fleet), call_from(dice.randint(0, 2**62), fleet))
    return World(fleet, policy_from(dice.randint(0, 2**62)), *parts, learned_from(dice.randint(0, 2**62), fleet))
