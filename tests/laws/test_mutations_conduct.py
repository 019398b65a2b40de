"""The laws of the conduct have teeth: a fault planted into a copy of its source makes one of them fail."""

import shutil
from pathlib import Path

import pytest

from tests.laws.test_mutations import ROOT, copy_of_policies, run_laws

pytestmark = pytest.mark.slow
EXAMPLES = 400
"""What a fault needs is rarer here than in a single decision: two tries side by side, and one that ends at the right moment."""
ALLOWED = "test_law_2_conduct.py::test_every_try_is_allowed_at_the_moment_that_it_is_made"
ONCE = "test_law_2_conduct.py::test_every_call_ends_once_and_leaves_nothing_behind"
SETTLED = "test_law_2_conduct.py::test_every_try_is_settled_once"
NO_MORE = "test_law_2_conduct.py::test_no_more_is_tried_than_the_policy_says"
TOGETHER = "../router/test_hedging.py::test_of_two_answers_at_the_same_moment_one_counts_and_nobody_leaves_the_others_stream_open"
CIRCUIT = "../router/test_breaker.py::test_an_open_circuit_is_a_veto_of_the_decision_that_no_report_lifts"
AGAIN = "test_law_2_conduct.py::test_every_decision_on_the_way_can_be_made_again"

OLDER = """            choice = self.__dict__.setdefault("old", deciding.engine).choose(asked, deciding.snapshot, shut)
            # A call"""

# name: (file, the text as it stands, the planted fault, the law's test that must see it)
MUTATIONS = {
    "calls on their way keep the policy that they came under": (
        "deciding.py",
        "        self.engine = engine\n",
        "        self.engine = getattr(self, 'engine', engine)\n",
        ALLOWED,
    ),
    "what was decided before the money came still goes": (
        "attempts.py",
        "later = self._decide(course, tried)",
        "later = decided",
        ALLOWED,
    ),
    "what was decided before the limits were asked still goes": (
        "caller.py",
        "opened, still = await within(opened, left_us, too_late(limit_us, [])), None",
        "opened = await within(opened, left_us, too_late(limit_us, []))",
        ALLOWED,
    ),
    "a fallback goes where an older decision would have gone": (
        "attempts.py",
        "            choice = deciding.choose(asked, shut)\n            # A call",
        OLDER,
        ALLOWED,
    ),
    "the loser of a race runs on": (
        "race.py",
        "        task.cancel()\n",
        "",
        ONCE,
    ),
    "an answer that came second stays open": (
        "hedging.py",
        "                await closed(met)\n",
        "",
        TOGETHER,
    ),
    "the loser of a race is free": (
        "hedging.py",
        "            course.book(one, ran=sent)\n",
        "",
        SETTLED,
    ),
    "the loser of a race is paid twice": (
        "tries.py",
        "        if not one.let_go:\n",
        "        if one:\n",
        SETTLED,
    ),
    "hedges without an end": (
        "hedging.py",
        "if hedge is None or not hedges.may(ppm(hedge.budget_share)):",
        "if hedge is None:",
        NO_MORE,
    ),
    "retries without an end": (
        "tries.py",
        "again = failed.again and self.failures[index] <= retries_max",
        "again = failed.again",
        NO_MORE,
    ),
    "a retry that goes somewhere new": (
        "attempts.py",
        "while len(course.failures) > fallbacks_max and choice.deployment not in course.failures:",
        "while False:",
        NO_MORE,
    ),
    "a decision that is written down without what was shut for it": (
        "attempts.py",
        "deciding.record(decided.asked, choice, decided.shut)",
        "deciding.record(decided.asked, choice, ())",
        AGAIN,
    ),
    "circuits that no decision knows of": (
        "breaker.py",
        "            self._snapshot.open_circuit(index, circuit.open_until_us, now_us)\n",
        "            pass\n",
        CIRCUIT,
    ),
    "a circuit that any report closes": (
        "../../policies/snapshot.py",
        " & (self.circuit_us == 0)",
        "",
        CIRCUIT,
    ),
}


def copy_of_floors(folder: Path) -> Path:
    """A copy of the ground floor and of the router; where the conduct stands in it."""
    router = copy_of_policies(folder).parent / "router"
    shutil.copytree(ROOT / "router", router, ignore=shutil.ignore_patterns("__pycache__"))
    return router / "conduct"


def test_the_laws_hold_without_a_fault(tmp_path: Path) -> None:
    copy_of_floors(tmp_path)
    assert run_laws(tmp_path, [ALLOWED, ONCE, SETTLED, NO_MORE, AGAIN, TOGETHER, CIRCUIT]) == 0


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_planted_fault_breaks_a_law(tmp_path: Path, name: str) -> None:
    file, before, after, test = MUTATIONS[name]
    path = copy_of_floors(tmp_path) / file
    source = path.read_text(encoding="utf-8")
    assert source.count(before) == 1, f"{file} no longer says {before!r}: plant this fault elsewhere"
    path.write_text(source.replace(before, after), encoding="utf-8")
    assert run_laws(tmp_path, [test], EXAMPLES) == 1
