"""Circuits: they open by failures alone, always cool off, let one call at a time try them out, and stand in the decision."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infercast.policies import kernel
from infercast.policies.model import Rule
from infercast.policies.snapshot import Report, Snapshot
from infercast.router.conduct.breaker import (
    BESIDE_US,
    CALM_US,
    COOL_US,
    COOL_US_MAX,
    FAILURES_IN_A_ROW,
    WINDOW_CALLS,
    WINDOW_US,
    Circuit,
    Circuits,
    Pass,
    State,
)
from tests.router.fakes import Clock, ask, example_engine, example_fleet

LUCK = st.floats(0, 1, exclude_max=True)


class AnyCircuit(RuleBasedStateMachine):
    """Calls come and end in any order, at any time; `out` are those that were let through and have not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.circuit, self.now_us, self.out = Circuit(), 10**9, list[Pass]()
        self.trials = 0

    @rule(by_us=st.sampled_from([0, 1, 1000, COOL_US // 2, COOL_US, COOL_US_MAX, CALM_US]))
    def time_passes(self, by_us: int) -> None:
        self.now_us += by_us

    @rule()
    def a_call_comes(self) -> None:
        was_open = self.circuit.state is State.OPEN and self.now_us < self.circuit.open_until_us
        may = self.circuit.enter(self.now_us)
        assert (may is Pass.NO) == (was_open or self.trials == 1)
        if may is not Pass.NO:
            self.out.append(may)
        self.trials += may is Pass.TRIAL

    @precondition(lambda self: bool(self.out))
    @rule(at=st.integers(0, 10**6), failed=st.sampled_from([True, True, False, None]), luck=LUCK)
    def a_call_ends(self, at: int, failed: bool | None, luck: float) -> None:
        ending = self.out.pop(at % len(self.out))
        was = self.circuit.state
        self.circuit.ended(failed, "t", ending is Pass.TRIAL, self.now_us, luck)
        self.trials -= ending is Pass.TRIAL
        now = self.circuit.state
        if now is not was:
            assert failed is not None, "what says nothing changes nothing"
            assert (now is State.OPEN) == failed
            assert was is State.CLOSED or ending is Pass.TRIAL, "only the call that tries it out decides"
        if ending is Pass.TRIAL and failed is not None:
            assert now is (State.OPEN if failed else State.CLOSED)

    @invariant()
    def one_at_a_time_and_never_for_ever(self) -> None:
        assert 0 <= self.trials <= 1
        assert self.circuit.trying == bool(self.trials)
        assert self.circuit.open_until_us <= self.now_us + COOL_US_MAX


TestAnyCircuit = AnyCircuit.TestCase


@given(LUCK, st.integers(1, 12))
def test_each_time_it_opens_it_stays_so_longer_up_to_a_minute(luck: float, times: int) -> None:
    circuit, now_us = Circuit(), CALM_US
    for _ in range(FAILURES_IN_A_ROW):
        circuit.ended(True, "t", False, now_us, luck)
    for turn in range(times):
        cool_us = min(COOL_US_MAX, COOL_US * 2**turn)
        assert cool_us // 2 <= circuit.open_until_us - now_us <= cool_us
        now_us = circuit.open_until_us
        assert circuit.enter(now_us) is Pass.TRIAL
        circuit.ended(True, "t", True, now_us, luck)


def test_what_was_well_for_a_minute_begins_anew() -> None:
    circuit = Circuit(times_opened=6, closed_us=0)
    for _ in range(FAILURES_IN_A_ROW):
        circuit.ended(True, "t", False, CALM_US, 0.5)
    assert circuit.open_until_us - CALM_US <= COOL_US


def ends(*failed: bool, every_us: int = 1000) -> State:
    circuit, now_us = Circuit(), 10**9
    for one in failed:
        now_us += every_us
        circuit.ended(one, "t", False, now_us, 0.5)
    return circuit.state


@pytest.mark.parametrize(("failed", "state"), [
    ([True] * (FAILURES_IN_A_ROW - 1), State.CLOSED),
    ([True] * FAILURES_IN_A_ROW, State.OPEN),
    ([*[True] * (FAILURES_IN_A_ROW - 1), False, True], State.CLOSED),
    ([False, True] * 5, State.OPEN),
    ([False, True] * 4, State.CLOSED),
    ([False, False, True] * 20, State.CLOSED),
])  # fmt: skip
def test_it_opens_by_failures_in_a_row_or_by_half_of_the_newest(failed: list[bool], state: State) -> None:
    assert ends(*failed) is state


def test_one_tenants_failures_take_nothing_from_others_that_are_answered() -> None:
    circuit = Circuit()
    circuit.ended(False, "other", False, 10**9, 0.5)
    for turn in range(FAILURES_IN_A_ROW + 3):
        circuit.ended(True, "one", False, 10**9 + turn, 0.5)
    before = circuit.state
    circuit.ended(True, "another", False, 10**9 + 100, 0.5)
    assert (before, circuit.state) == (State.CLOSED, State.OPEN)


def test_a_flood_of_one_tenants_failures_opens_nothing_while_another_is_answered_now_and_then() -> None:
    circuit, now_us = Circuit(), 10**9
    for _ in range(20):
        circuit.ended(False, "other", False, now_us, 0.5)
        for _ in range(5 * WINDOW_CALLS):
            now_us += 10_000
            circuit.ended(True, "one", False, now_us, 0.5)
            assert circuit.state is State.CLOSED


def test_an_answer_counts_for_its_candidate_also_before_anything_has_failed_there() -> None:
    clock = Clock(10**9)
    with clock.rules():
        circuits = Circuits(Snapshot.declared(example_fleet()), lambda: 0.5)
        circuits.ended(0, False, "other")
        for _ in range(FAILURES_IN_A_ROW):
            circuits.ended(0, True, "one")
        assert circuits.state(0) is State.CLOSED
        for _ in range(FAILURES_IN_A_ROW):
            circuits.ended(1, True, "one")
        assert circuits.state(1) is State.OPEN


def test_what_was_answered_before_it_all_began_protects_nobody_for_long() -> None:
    circuit = Circuit()
    circuit.ended(False, "other", False, 10**9, 0.5)
    for turn in range(WINDOW_CALLS):
        circuit.ended(True, "one", False, 10**9 + turn, 0.5)
    before = circuit.state
    circuit.ended(True, "one", False, 10**9 + BESIDE_US, 0.5)
    assert (before, circuit.state) == (State.CLOSED, State.OPEN)


def test_failures_of_long_ago_are_no_share_of_the_newest() -> None:
    assert ends(*[False, True] * 20, every_us=WINDOW_US // 8) is State.CLOSED


@dataclass
class Entry:
    """An entry's circuits over a snapshot in which everything is well, as its reports go on saying."""

    clock: Clock
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(example_fleet()))
    circuits: Circuits = field(init=False)

    def __post_init__(self) -> None:
        self.circuits = Circuits(self.snapshot, lambda: 0.5)
        self.hear()

    def hear(self) -> None:
        """Let each deployment say that it is well."""
        for index in range(len(self.snapshot.live)):
            self.snapshot.hear(index, Report(0, 300, 400), self.clock.now_us)
        self.snapshot.believe(self.clock.now_us)

    def fails(self, index: int, times: int = FAILURES_IN_A_ROW) -> None:
        """Let calls fail at a candidate."""
        for _ in range(times):
            assert self.circuits.enter(index) is Pass.YES
            self.circuits.ended(index, True, "t")

    def healthy(self, index: int) -> bool:
        return bool(self.snapshot.live[index, kernel.L_HEALTHY])

    def verdict(self, index: int) -> tuple[Rule, str]:
        """What a decision says of a candidate."""
        name = example_fleet().deployments[index].id
        verdict = example_engine().explain(ask(), self.snapshot).verdict_of(name)
        return verdict.rule, verdict.detail


PLACE = example_fleet().deployment_index["digits-small@fra"]


def test_an_open_circuit_is_a_veto_of_the_decision_that_no_report_lifts() -> None:
    with Clock(10**9).rules() as clock:
        at = Entry(clock)
        at.fails(PLACE)
        assert at.verdict(PLACE) == (
            Rule.HEALTH,
            "not healthy: its circuit is open for 0.8 s more, after calls that failed",
        )
        clock.now_us += 500_000
        at.hear()
        assert at.verdict(PLACE)[1] == "not healthy: its circuit is open for 0.2 s more, after calls that failed"
        assert at.circuits.opened == 1
        assert [at.healthy(index) for index in range(len(at.snapshot.live))].count(False) == 1


def test_it_cools_off_by_time_alone_and_one_call_tries_it_out() -> None:
    with Clock(10**9).rules() as clock:
        at = Entry(clock)
        at.fails(PLACE)
        clock.now_us += 750_000
        at.hear()
        assert at.healthy(PLACE)
        assert at.circuits.enter(PLACE) is Pass.TRIAL
        assert "half open" in at.verdict(PLACE)[1]
        at.hear()
        assert not at.healthy(PLACE), "nobody else goes, whatever it says"
        at.circuits.ended(PLACE, False, "t", trial=True)
        assert at.healthy(PLACE)
        assert at.circuits.state(PLACE) is State.CLOSED


@pytest.mark.parametrize("failed", [True, None])
def test_a_call_that_tried_it_out_in_vain_leaves_it_to_another(failed: bool | None) -> None:
    with Clock(10**9).rules() as clock:
        at = Entry(clock)
        at.fails(PLACE)
        for turn in range(1, 9):
            clock.now_us += COOL_US_MAX
            at.hear()
            assert at.circuits.enter(PLACE) is Pass.TRIAL
            at.circuits.ended(PLACE, failed, "t", trial=True)
            assert at.healthy(PLACE) is (failed is None)
            assert at.circuits.opened == (1 + turn if failed else 1)


def test_who_was_decided_before_it_opened_is_sent_back_and_the_next_decision_knows() -> None:
    with Clock(10**9).rules() as clock:
        at = Entry(clock)
        at.fails(PLACE)
        at.snapshot.live[PLACE, kernel.L_HEALTHY] = 1  # as that decision saw it
        assert at.circuits.enter(PLACE) is Pass.NO
        assert at.verdict(PLACE)[0] is Rule.HEALTH


def test_a_site_that_is_not_heard_of_is_not_well_for_its_circuit_being_closed() -> None:
    with Clock(10**9).rules() as clock:
        at = Entry(clock)
        at.fails(PLACE)
        at.snapshot.distrust(PLACE, clock.now_us)
        clock.now_us += 750_000
        at.snapshot.believe(clock.now_us)
        assert at.circuits.enter(PLACE) is Pass.TRIAL
        at.circuits.ended(PLACE, False, "t", trial=True)
        assert not at.healthy(PLACE)


def test_a_state_with_an_open_circuit_decides_again_alike_and_says_so() -> None:
    with Clock(10**9).rules() as clock:
        at = Entry(clock)
        without = at.snapshot.digest()
        at.fails(PLACE)
        request = ask()
        again = Snapshot.restored(example_fleet(), at.snapshot.state())
        engine = example_engine()
        assert engine.explain(request, again) == engine.explain(request, at.snapshot)
        assert again.digest() == at.snapshot.digest() != without
        clock.now_us += 1
        at.snapshot.believe(clock.now_us)
        assert at.snapshot.digest() != again.digest()


def test_what_has_been_well_for_long_is_forgotten() -> None:
    with Clock(10**9).rules() as clock:
        at = Entry(clock)
        at.fails(PLACE)
        clock.now_us += COOL_US
        assert at.circuits.enter(PLACE) is Pass.TRIAL
        at.circuits.ended(PLACE, False, "t", trial=True)
        assert at.circuits._circuits
        clock.now_us += CALM_US
        at.circuits.ended(PLACE, False, "t")
        assert not at.circuits._circuits
