"""The kernel's arithmetic: compiled as interpreted as plain big integers, at the ends of what files and signals allow."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.compiled import NO_PLAN, new_plan
from infercast.policies.fleet_file import load_fleet
from infercast.policies.tables import CALL_NUSD_MAX, Table
from infercast.policies.units import LATENCY_MAX_US
from tests.laws import arithmetic
from tests.laws.arrays import EGRESS_MAX, SERVERS_MAX, Arrays, arrays_from, as_lists, asked_of, compiled, run, said

SEEDS = st.integers(0, 2**32)
Given = tuple[Table, Table, Table, Table]


def judged(arrays: Arrays) -> tuple[list[arithmetic.Judged], list[int], list[int]]:
    """What the plain arithmetic says of each candidate, and its order with the margin and without."""
    asked, lists = asked_of(arrays), as_lists(arrays)
    found = [arithmetic.judge(lists, at, asked) for at in range(arrays["fixed"].shape[1])]
    calm = arithmetic.Asked(asked.payload_bytes, asked.deadline_us, asked.draw, 0, asked.form)
    return found, arithmetic.order(found, asked), arithmetic.order(found, calm)


def assert_as_big_integers_say(arrays: Arrays) -> None:
    found, drawn, plain = judged(arrays)
    written = run(arrays, compiled())
    assert written["out"].tolist() == [arithmetic.row(one) for one in found]
    assert written["order"].tolist() == drawn
    assert written["plain"].tolist() == plain
    for name, order in (("answer", plain), ("spread", drawn)):
        places = [found[at] for at in order[: arrays["places"]]]
        assert written[name].tolist() == [
            [one.deployment for one in places],
            [one.at_deadline_us for one in places],
            [one.price for one in places],
            [one.median_us for one in places],
            [one.spread_us for one in places],
        ]


@settings(max_examples=400)
@given(SEEDS)
def test_the_kernel_says_what_big_integers_say(seed: int) -> None:
    assert_as_big_integers_say(arrays_from(seed))


@given(SEEDS)
def test_compiled_and_interpreted_kernels_write_the_same_bytes(seed: int) -> None:
    """Warnings are errors here: numpy would warn of an overflow in the interpreted one."""
    assert said(arrays_from(seed), compiled()) == said(arrays_from(seed), kernel.interpreted)


def assert_equal_by_plan(given_: Given, plan: Table, places: int, asked: tuple[int, int, int]) -> None:
    by_plan, by_all = (np.zeros((kernel.A_ROWS, places), dtype=np.int64) for _ in range(2))
    found = kernel.decide(*given_, NO_PLAN, by_all, *asked)
    assert kernel.decide(*given_, plan, by_plan, *asked) == found
    assert by_plan[:5, :found].tolist() == by_all[:5, :found].tolist()


@settings(max_examples=300)
@given(SEEDS, SEEDS)
def test_a_plan_decides_what_a_look_at_all_decides_whatever_comes_after_it(seed: int, later: int) -> None:
    arrays, dice = arrays_from(seed), np.random.default_rng(later)
    n, params = arrays["fixed"].shape[1], arrays["params"]
    view, plan = np.zeros((kernel.V_ROWS, n), dtype=np.int64), new_plan(n)
    given_ = (view, arrays["rules"], arrays["exposure"], params)
    payload_bytes, deadline_us, draw = arrays["asked"]
    for _ in range(12):
        kernel.refresh(arrays["fixed"], arrays["live"], arrays["rtt"], arrays["z"], view)
        for _ in range(kernel.PLAN_AFTER):
            asked = (int(dice.choice([payload_bytes, payload_bytes // 2, 0])), deadline_us, draw)
            assert_equal_by_plan(given_, plan, arrays["places"], asked)
        times = arrays["live"][:, kernel.L_P50_US : kernel.L_P50_US + kernel.SIZES]
        changed = times * dice.uniform(0.85, 1.4, times.shape) * (dice.choice([1, 1, 1, 8, 0.1]))
        times[:] = np.clip(changed, 1, LATENCY_MAX_US)
        arrays["live"][:, kernel.L_IN_FLIGHT] = dice.integers(0, 40, len(arrays["live"]))


@settings(max_examples=200)
@given(SEEDS, SEEDS)
def test_a_plan_counts_a_queue_for_no_more_than_it_is(seed: int, later: int) -> None:
    """Candidates that differ in their queues alone: a bound that is too high by little passes over the best of them."""
    arrays, dice = arrays_from(seed), np.random.default_rng(later)
    fixed, live, n = arrays["fixed"], arrays["live"], arrays["fixed"].shape[1]
    for table in (live, arrays["rtt"], arrays["z"], arrays["exposure"]):
        table[:] = table[0]
    for row in set(range(kernel.F_ROWS)) - {kernel.F_DEPLOYMENT, kernel.F_SITE, kernel.F_TIE}:
        fixed[row] = fixed[row, 0]
    live[:, [kernel.L_HEALTHY, kernel.L_QUEUE_MAX]] = (1, 300)
    view, plan = np.zeros((kernel.V_ROWS, n), dtype=np.int64), new_plan(n)
    given_ = (view, np.zeros_like(arrays["rules"]), arrays["exposure"], arrays["params"])
    for _ in range(8 * kernel.PLAN_AFTER):
        live[:, kernel.L_IN_FLIGHT] = dice.integers(0, dice.choice([4, 20, 200]), len(live))
        kernel.refresh(fixed, live, arrays["rtt"], arrays["z"], view)
        assert_equal_by_plan(given_, plan, 1 + int(dice.integers(2)), arrays["asked"])


@pytest.mark.parametrize("at", [0, 1])
def test_a_plan_bounds_a_price_that_falls_by_one_as_a_payload_grows(at: int) -> None:
    """Two candidates of one score, of which one's traffic costs 212 nUSD with the least payload of the size, and 211 with this one."""
    arrays = next(found for seed in range(100) if (found := arrays_from(seed))["fixed"].shape[1] > 1)
    fixed, live, params, n = arrays["fixed"], arrays["live"], arrays["params"], arrays["fixed"].shape[1]
    sent, back = 500_000, 90_000_000
    assert [kernel.egress_nusd(sent, back, payload_bytes, 2_333) for payload_bytes in (4_097, 5_001)] == [212, 211]
    for row in set(range(kernel.F_ROWS)) - {kernel.F_DEPLOYMENT, kernel.F_SITE}:
        fixed[row] = 0
    for table in (live, arrays["rtt"], arrays["z"], arrays["exposure"], params):
        table[:] = 0
    fixed[kernel.F_CALL_NUSD] = 211
    fixed[[kernel.F_CALL_NUSD, kernel.F_EGRESS, kernel.F_EGRESS_BACK], at] = 0, sent, back
    live[:, [kernel.L_HEALTHY, kernel.L_QUEUE_MAX, kernel.L_CONCURRENCY]] = 1, 300, 1
    live[:, kernel.L_P50_US : kernel.L_P50_US + kernel.SIZES] = 1_000
    params[[kernel.P_RESPONSE_BYTES, kernel.P_PER_PRICE, kernel.P_PRICE_MAX]] = 2_333, 1_000, -1
    view, plan = np.zeros((kernel.V_ROWS, n), dtype=np.int64), new_plan(n)
    kernel.refresh(fixed, live, arrays["rtt"], arrays["z"], view)
    given_ = (view, np.minimum(np.arange(n) // 2, 1).astype(arrays["rules"].dtype), arrays["exposure"], params)
    for _ in range(2 * kernel.PLAN_AFTER):
        assert_equal_by_plan(given_, plan, 1, (5_001, 0, 1))


def test_the_random_arrays_reach_every_rule_and_many_places() -> None:
    rules, places, drawn = set(), set(), 0
    for seed in range(300):
        found, order, plain = judged(arrays_from(seed))
        rules |= {one.rule for one in found}
        places.add(len(order))
        drawn += order != plain
    kernels = {kernel.PRICE, kernel.DEADLINE, kernel.DEADLINE_LOAD, kernel.CAPACITY, kernel.HEALTH, kernel.TRIED}
    assert rules >= {0, *kernels}
    assert places >= set(range(9))
    assert drawn > 5


def extremes(servers: int, spread_us: int) -> Arrays:
    """Every number at its end at once."""
    arrays = arrays_from(1)
    n = arrays["fixed"].shape[1]
    most_of = {
        kernel.F_PS_PER_BYTE: kernel.PS_PER_BYTE_MAX,
        kernel.F_ERROR_PPM: 10**6,
        kernel.F_CALL_NUSD: CALL_NUSD_MAX,
    }
    for row, most in most_of.items():
        arrays["fixed"][row] = most
    arrays["fixed"][[kernel.F_EGRESS, kernel.F_EGRESS_BACK]] = EGRESS_MAX
    live = arrays["live"]
    live[:, kernel.L_P50_US :] = LATENCY_MAX_US
    live[:, kernel.L_SPREAD_US :] = spread_us
    live[:, kernel.L_CONCURRENCY] = servers
    live[:, [kernel.L_IN_FLIGHT, kernel.L_HEALTHY, kernel.L_QUEUE_MAX]] = (10**7, 1, 10**7 + 1)
    live[:, kernel.L_NUSD_PER_S] = 2_777_777_778
    arrays["rtt"][:] = LATENCY_MAX_US
    arrays["z"][:] = 100_000
    arrays["exposure"][:] = 3 * 10**12
    arrays["rules"][:] = 0
    arrays["tried"] = np.zeros(0, dtype=np.int64)
    params = arrays["params"]
    params[kernel.P_RESPONSE_BYTES] = 10**9
    params[kernel.P_ACCESS_US] = LATENCY_MAX_US
    params[kernel.P_ACCESS_SQUARE] = kernel.SQUARE_MAX
    params[kernel.P_ACCESS_PS_PER_BYTE] = kernel.PS_PER_BYTE_MAX
    params[[kernel.P_ACCESS_EGRESS, kernel.P_ACCESS_EGRESS_BACK]] = EGRESS_MAX
    params[kernel.P_PRICE_MAX] = -1
    params[[kernel.P_PER_PRICE, kernel.P_PER_S, kernel.P_PER_ERROR]] = (1, 10**10, 10**12)
    params[[kernel.P_SECOND_PRICE, kernel.P_MARGIN]] = (0, 10**12)
    assert n > 1
    return {**arrays, "asked": (10**10, 0, kernel.FIELD - 1), "places": n}


@pytest.mark.parametrize("servers", [1, 2, 1_000, 32_768, SERVERS_MAX])
@pytest.mark.parametrize("spread_us", [0, 1, 32_768, 10**6, LATENCY_MAX_US])
def test_nothing_overflows_where_everything_is_at_its_end(servers: int, spread_us: int) -> None:
    assert_as_big_integers_say(extremes(servers, spread_us))
    assert said(extremes(servers, spread_us), kernel.interpreted) == said(extremes(servers, spread_us), compiled())


@given(
    st.integers(0, LATENCY_MAX_US),
    st.integers(0, LATENCY_MAX_US),
    st.integers(0, 10**7),
    st.integers(0, 1_000),
    st.sampled_from([1, 2, 7, 100, 32_768, SERVERS_MAX]),
)
def test_a_longer_queue_and_a_wider_spread_never_look_steadier(
    spread_us: int, more_us: int, ahead: int, longer: int, servers: int
) -> None:
    view = np.zeros((kernel.V_ROWS, 2), dtype=np.int64)
    view[kernel.V_CONCURRENCY] = servers
    view[kernel.V_SQUARE] = (spread_us**2, min(LATENCY_MAX_US, spread_us + more_us) ** 2)
    calm, wide, long = (
        int(kernel._square(view, at, 0, queue)) for at, queue in ((0, ahead), (1, ahead), (0, ahead + longer))
    )
    assert calm <= wide
    assert calm <= long
    assert calm >= min(kernel.SQUARE_MAX, spread_us**2 * (servers**2 + ahead) // servers**2 - 1)
    assert max(wide, long) < 2**62


def test_the_example_fleet_is_inside_these_bounds() -> None:
    from tests.router.fakes import ROOT

    fleet = load_fleet(ROOT / "cluster.yaml")
    for site in fleet.sites:
        for model in fleet.models:
            table = fleet.tables.fixed(site.id, model.id)
            assert (table[kernel.F_PS_PER_BYTE] <= kernel.PS_PER_BYTE_MAX).all()
            assert (table[[kernel.F_EGRESS, kernel.F_EGRESS_BACK]] <= EGRESS_MAX).all()
            assert (table[kernel.F_TIE] < kernel.FIELD).all()
