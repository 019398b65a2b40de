"""Callers of all kinds, faults of all kinds, both drawn from a printed seed: afterwards the books and the laws hold."""

import os
import random
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from tests.trouble import world
from tests.trouble.afterwards import Lines, call_lines, told, wrong_costs, wrong_endings
from tests.trouble.callers import Crowd, Ended
from tests.trouble.faults import Trouble
from tests.trouble.rig import Rig, until

FOR_S = float(os.environ.get("INFERCAST_TROUBLE_S", "45"))
CALLERS, PAUSE_S = 6, 0.08
OURS = {200, 402, 403, 429, 503, 504}
"""How a call of theirs may end, whatever befalls: answered, refused, over a limit, no room or nobody there, too late. Never 500."""
NOT_OURS = {-1, 0, 502, 503, 504}
"""What a caller sees of a call whose entry was killed or stood still: nothing, the connection ended, or the proxy says so."""


SURE, FORBIDDEN = "surely-south", "surely-not-south"
"""The marks of two calls that fail in the north: of a class that may go to south then, and of one that may not."""


@dataclass(frozen=True)
class Troubled:
    """What was done, and what came of it."""

    ended: list[Ended]
    lines: Lines
    south: set[str]
    """The calls that came to the upstream which classes `named` and `european` forbid."""


@pytest.fixture(scope="module")
def troubled(running: Rig, seed: int) -> Troubled:
    """The system, troubled for a while and well again."""
    rig = running
    rig.well()
    with Crowd(rig, seed, CALLERS, PAUSE_S) as crowd, Trouble(rig, random.Random(f"{seed} faults")) as trouble:
        time.sleep(FOR_S)
    rig.recover()
    rig.well()
    # What may go to south surely has by then: else that nothing forbidden is there would say nothing.
    with rig.north.told(does="status", status=500):
        until(
            lambda: rig.infer("calm", "score", mark=SURE).headers.get("infercast-site") == "south-tensors", "south runs"
        )
        rig.infer("calm", "score", data_class="named", mark=FORBIDDEN)
    print(f"SEED={seed}:", *trouble.befell, sep="\n  ")
    marks = {mark for _, mark in rig.south.seen().marks}
    return Troubled([*crowd.ended, *rig.floods], call_lines(rig), marks)


@pytest.mark.timeout(600 + FOR_S)
def test_most_calls_are_answered_all_end_and_none_as_a_fault_of_ours(troubled: Troubled) -> None:
    ended = Counter((end.ours, end.status) for end in troubled.ended)
    assert len(troubled.ended) > FOR_S
    assert {status for ours, status in ended if ours} <= OURS, ended
    assert {status for ours, status in ended if not ours} <= NOT_OURS, ended
    calm = [end.status for end in troubled.ended if end.tenant != "flooder"]
    assert calm.count(200) >= 0.4 * len(calm), ended


def test_each_call_has_one_ending_in_the_journals(troubled: Troubled) -> None:
    assert wrong_endings(troubled.ended, troubled.lines) == []


def test_each_call_costs_what_its_answer_said(troubled: Troubled) -> None:
    assert wrong_costs(troubled.ended, troubled.lines) == []
    assert sum(end.cost_nusd for end in told(troubled.ended)) > 0


def test_the_ledger_says_what_the_journals_say(running: Rig, troubled: Troubled) -> None:
    """To the nano-dollar, though workers were killed, disks full and the clock wrong: nothing lost, nothing twice."""
    books = running.books()
    assert (books.differing, books.differences, books.unsettled) == (0, [], 0)
    assert books.calls >= sum(1 for lines in troubled.lines.values() for _ in lines)
    assert books.ledger_nusd == books.journal_nusd > 0


def test_the_journals_hold_to_the_policies(running: Rig, troubled: Troubled) -> None:
    found = running.audit()
    assert found.calls >= len(troubled.lines)
    assert (found.off_policy, found.misplaced, found.ended_twice) == ((), (), ())


def test_what_may_not_come_to_south_did_not(troubled: Troubled) -> None:
    """As the upstream itself saw it, whatever our own journals say: on no path, not by a retry, a fallback or a hedge."""
    forbidden = {end.id for end in troubled.ended if end.data_class in {"named", "european"}} | {FORBIDDEN}
    assert SURE in troubled.south
    assert not forbidden & troubled.south


def test_nothing_is_left_behind(running: Rig, troubled: Troubled) -> None:
    """Every site has one worker, every upstream is idle."""
    assert [len(running.replicas(site)) for site in world.OWN] == [1, 1, 1]
    assert {service.seen().open for service in running.upstreams.values()} == {0}
