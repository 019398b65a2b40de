"""Changes of traffic: what stays is the same call, what comes or goes is what was asked for, and in the right number."""

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.faults import BadInput
from infercast.sim.traffic import Scale, Shift, TrafficChange, Which
from tests.sim.workloads import NOON_S, calls, origins, poisson_margin, rows, share_margin, source

BOTH = (
    source(rate={"poisson_per_s": 20}, origins=["berlin", "tokyo"], payload_bytes={"lognormal": {"p50": 9, "p95": 99}}),
    source(name="b", model="vision", rate={"even_per_s": 5}, repeated={"share": 0.5, "questions": 20}),
)
FACTORS = st.floats(0, 4)


def which(**parts: object) -> Which:
    sets = {name: frozenset(value) if isinstance(value, list) else value for name, value in parts.items()}
    return Which(**sets)  # type: ignore[arg-type]


WHICH = st.builds(
    which,
    origins=st.sampled_from([None, ["berlin"], ["tokyo"], ["newyork"]]),
    models=st.sampled_from([None, ["digits"], ["vision"]]),
    tenants=st.sampled_from([None, ["t"], ["u"]]),
    sources=st.sampled_from([None, ["s"]]),
    from_us=st.sampled_from([0, 40_000_000]),
    until_us=st.sampled_from([None, 70_000_000]),
    hours=st.sampled_from([None, "13:00-13:01", "21:01-07:00"]),
)
CHANGES = st.lists(
    st.one_of(
        st.builds(Scale, FACTORS, WHICH),
        st.builds(Shift, st.floats(0, 1), st.sampled_from(["tokyo", "newyork", "ber"]), WHICH),
    ),
    max_size=3,
)


def same_but_for_origin(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    return one[1:] == other[1:]


@given(WHICH)
@settings(max_examples=30)
def test_once_the_calls_is_the_same_bytes(some: Which) -> None:
    base, scaled = calls(*BOTH), calls(*BOTH, changes=[Scale(1.0, some), Shift(0.0, "newyork", some)])
    assert base.kinds == scaled.kinds
    for name in ("at_us", "kind", "payload_bytes", "work_ppm", "content", "luck"):
        assert getattr(base, name).tobytes() == getattr(scaled, name).tobytes()


@given(FACTORS, FACTORS, WHICH)
@settings(max_examples=30)
def test_calls_of_a_smaller_factor_are_among_those_of_a_greater(one: float, other: float, some: Which) -> None:
    less, more = (rows(calls(*BOTH, changes=[Scale(factor, some)])) for factor in sorted((one, other)))
    assert less.items() <= more.items()


@given(CHANGES)
@settings(max_examples=40)
def test_what_no_change_means_stays_as_it_was(changes: list[TrafficChange]) -> None:
    base, changed = rows(calls(*BOTH)), rows(calls(*BOTH, changes=changes))
    for luck, row in base.items():
        if luck in changed:
            assert same_but_for_origin(row, changed[luck])
    if all(not isinstance(change, Scale) or change.factor >= 1 for change in changes):
        assert base.keys() <= changed.keys()
    if all(not isinstance(change, Scale) or change.factor <= 1 for change in changes):
        assert changed.keys() <= base.keys()
    late = all(change.which.from_us > 0 for change in changes)
    if late:
        before = [{luck: row for luck, row in some.items() if row[1] < 40_000_000} for some in (base, changed)]
        assert before[0] == before[1]


@settings(max_examples=20)
@given(st.integers(0, 2**63), st.sampled_from([0.25, 0.5, 2.0, 3.0, 2.5]))
def test_so_many_times_the_calls_come(seed: int, factor: float) -> None:
    one = source(rate={"poisson_per_s": 100})
    window = Which(from_us=20_000_000, until_us=60_000_000)
    found = calls(one, seed=seed, changes=[Scale(factor, window)]).at_us
    inside = int(((found >= 20_000_000) & (found < 60_000_000)).sum())
    assert abs(inside - 4000 * factor) < poisson_margin(4000 * factor)
    assert abs(len(found) - inside - 6000) < poisson_margin(6000)


def test_a_change_ends_before_the_call_at_its_end() -> None:
    one = source(rate={"even_per_s": 1})
    for from_us, until_us, left in ((500_000, 1_500_000, [1_500_000]), (500_001, 1_500_001, [500_000])):
        found = calls(one, duration="2s", changes=[Scale(0.0, Which(from_us=from_us, until_us=until_us))])
        assert found.at_us.tolist() == left


def test_twice_as_many_even_calls_are_even_again() -> None:
    found = calls(source(rate={"even_per_s": 1}), duration="2s", changes=[Scale(2.0)])
    assert found.at_us.tolist() == [0, 500_000, 1_000_000, 1_500_000]
    assert calls(source(rate={"even_per_s": 1}), duration="2s").at_us.tolist() == [500_000, 1_500_000]


def test_factors_for_the_same_calls_are_multiplied() -> None:
    late = Which(from_us=50_000_000)
    twice = calls(*BOTH, changes=[Scale(2.0), Scale(1.5, late)])
    assert rows(twice).items() >= rows(calls(*BOTH, changes=[Scale(3.0, late)])).items()
    assert rows(twice).items() >= rows(calls(*BOTH, changes=[Scale(2.0)])).items()
    assert calls(*BOTH, changes=[Scale(4.0), Scale(0.25)]).luck.tobytes() == calls(*BOTH).luck.tobytes()


def test_none_of_the_calls_of_a_factor_of_0_come() -> None:
    found = calls(*BOTH, changes=[Scale(0.0, which(models=["vision"]))])
    assert {kind.model for kind in found.kinds if kind.model} == {"digits", "vision"}
    assert {found.kinds[kind].model for kind in found.kind.tolist()} == {"digits"}
    assert len(calls(*BOTH, changes=[Scale(0.0)])) == 0


@settings(max_examples=20)
@given(st.integers(0, 2**63), st.floats(0, 1))
def test_a_share_of_the_calls_comes_from_elsewhere(seed: int, share: float) -> None:
    one = source(rate={"poisson_per_s": 50}, origins=["berlin", "tokyo"])
    base = calls(one, seed=seed)
    moved = calls(one, seed=seed, changes=[Shift(share, "newyork", which(origins=["berlin"]))])
    assert base.at_us.tobytes() == moved.at_us.tobytes()
    assert base.luck.tobytes() == moved.luck.tobytes()
    pairs = list(zip(origins(base), origins(moved), strict=True))
    assert {pair for pair in pairs if pair[0] != pair[1]} <= {("berlin", "newyork")}
    from_berlin = [to for origin, to in pairs if origin == "berlin"]
    assert abs(from_berlin.count("newyork") / len(from_berlin) - share) < share_margin(len(from_berlin))


def test_of_two_shares_the_greater_moves_all_that_the_smaller_moves() -> None:
    less, more = (origins(calls(*BOTH, changes=[Shift(share, "newyork")])) for share in (0.2, 0.6))
    assert all(to == "newyork" for was, to in zip(less, more, strict=True) if was == "newyork")


def test_a_shifted_call_enters_where_calls_from_there_do() -> None:
    found = calls(source(), changes=[Shift(1.0, "newyork")])
    entered = {kind.origin: kind.entries for kind in found.kinds}
    assert entered == {"berlin": ("ber", "par", "iad"), "newyork": ("iad", "par", "ber")}
    assert set(origins(found)) == {"newyork"}


def test_changes_act_one_after_the_other() -> None:
    shift, scale = Shift(1.0, "newyork", which(origins=["berlin"])), Scale(3.0, which(origins=["newyork"]))
    first = calls(source(), changes=[shift, scale])
    assert len(first) > 2 * len(calls(source()))
    assert len(calls(source(), changes=[scale, shift])) == len(calls(source()))


def test_two_shifts_to_one_place_move_one_after_the_other() -> None:
    half = Shift(0.5, "newyork", which(origins=["berlin"]))
    found = origins(calls(source(rate={"poisson_per_s": 100}), changes=[half, half]))
    assert abs(found.count("newyork") / len(found) - 0.75) < share_margin(len(found))


def test_hours_are_those_of_each_call_s_origin() -> None:
    one = source(rate={"poisson_per_s": 0.2}, origins=["berlin", "tokyo"])
    night = Scale(0.0, Which(hours="22:00-06:00"))
    clocks = {"berlin": "Europe/Berlin", "tokyo": "Asia/Tokyo"}

    def local(origin: str, at_us: int) -> int:
        return datetime.fromtimestamp(NOON_S + at_us // 1_000_000, ZoneInfo(clocks[origin])).hour

    base, quiet = calls(one, duration="2d"), calls(one, duration="2d", changes=[night])
    kept = {luck for luck, row in rows(base).items() if 6 <= local(row[0].origin, row[1]) < 22}
    assert rows(quiet).keys() == kept
    assert 0 < len(kept) < len(base)


def test_hours_at_the_first_second_that_clocks_know() -> None:
    day = [Scale(0.0, Which(hours="12:00-13:00"))]
    one = source(rate={"even_per_s": 1}, origins=["berlin"])
    assert len(calls(one, starts_at_s=0, changes=day)) == 100  # it is 1:00 in Berlin


def test_a_change_for_hours_needs_a_clock() -> None:
    with pytest.raises(BadInput, match="the clock of 'nowhere' is not known"):
        calls(source(origins=["nowhere"]), changes=[Scale(2.0, Which(hours="12:00-13:00"))])


def test_a_factor_that_would_give_too_many_calls_is_refused_before_they_are_drawn() -> None:
    with pytest.raises(BadInput, match="more than can be run"):
        calls(source(rate={"poisson_per_s": 1_000_000}), duration="50s", changes=[Scale(3.0)])


def test_changes_at_other_times_do_not_add_up() -> None:
    weeks = [Scale(900.0, Which(from_us=number * 10_000_000, until_us=number * 10_000_000 + 10)) for number in range(3)]
    assert len(calls(source(), changes=weeks)) >= len(calls(source()))  # 900 multiples are drawn, not 900 ** 3


@pytest.mark.parametrize("factor", [-0.1, 1000.1, float("nan")])
def test_a_factor_has_bounds(factor: float) -> None:
    with pytest.raises(ValueError, match="a factor is from 0 to 1000"):
        Scale(factor)


def test_a_share_has_bounds() -> None:
    with pytest.raises(ValueError, match="a share is from 0 to 1"):
        Shift(1.1, "berlin")


def test_added_calls_of_repeated_questions_ask_the_same_ones() -> None:
    found = calls(source(repeated={"share": 1, "questions": 3}, rate={"poisson_per_s": 50}), changes=[Scale(3.0)])
    assert len(np.unique(found.content)) == 3
