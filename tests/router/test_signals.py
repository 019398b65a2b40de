"""What several sources say of one deployment, made into one report."""

from hypothesis import given
from hypothesis import strategies as st

from infercast.policies.snapshot import DEAD_US, Report
from infercast.router.signals import Heard, Ledger, merged

AGES = st.sampled_from([0, 1, 250_000, DEAD_US - 1, DEAD_US, DEAD_US + 1, 10 * DEAD_US])
REPORTS = st.builds(Report, st.integers(0, 99), st.integers(1, 10**6), st.integers(1, 10**6), st.booleans())
TOLD = st.lists(st.tuples(REPORTS, AGES), min_size=1, max_size=5)


def test_loads_add_and_the_slower_time_and_the_younger_age_count() -> None:
    told = [(Report(2, 300, 900), 50), (Report(3, 400, 800), 200_000)]
    assert merged("d", told) == Heard("d", Report(5, 400, 900), 50)


def test_one_healthy_source_is_enough() -> None:
    sick, well = Report(0, 1, 1, healthy=False), Report(0, 1, 1)
    assert merged("d", [(sick, 0), (well, 0)]).report.healthy
    assert not merged("d", [(sick, 0), (sick, 0)]).report.healthy


def test_a_source_that_fell_silent_is_left_out_once_others_speak() -> None:
    told = [(Report(60, 9_000, 9_000), DEAD_US + 1), (Report(1, 100, 100), 10)]
    assert merged("d", told) == Heard("d", Report(1, 100, 100), 10)
    just_alive = [(Report(60, 9_000, 9_000), DEAD_US), told[1]]
    assert merged("d", just_alive) == Heard("d", Report(61, 9_000, 9_000), 10)


def test_where_all_fell_silent_the_youngest_is_kept_with_its_age() -> None:
    told = [(Report(1, 10, 10), 3 * DEAD_US), (Report(2, 20, 20), 2 * DEAD_US)]
    assert merged("d", told) == Heard("d", Report(2, 20, 20), 2 * DEAD_US)


@given(TOLD)
def test_a_merged_report_is_never_better_than_the_worst_that_is_alive(told: list[tuple[Report, int]]) -> None:
    heard = merged("d", told)
    youngest_us = min(age_us for _, age_us in told)
    alive = [report for report, age_us in told if age_us <= DEAD_US]
    assert heard.age_us == youngest_us
    assert heard.report.in_flight >= max((report.in_flight for report in alive), default=0)
    assert heard.report.p50_us >= max((report.p50_us for report in alive), default=0)
    assert heard.report.p95_us >= max((report.p95_us for report in alive), default=0)
    if youngest_us <= DEAD_US:
        assert heard.report.healthy == any(report.healthy for report in alive)


@given(TOLD, st.randoms())
def test_the_order_of_sources_does_not_matter(told: list[tuple[Report, int]], random: object) -> None:
    shuffled = list(told)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merged("d", shuffled) == merged("d", told)


def test_a_ledger_keeps_the_last_word_of_each_source() -> None:
    ledger = Ledger()
    ledger.tell("w1", {"a": Report(1, 10, 10), "b": Report(7, 70, 70)}, 1000)
    ledger.tell("w2", {"a": Report(2, 20, 20)}, 2000)
    ledger.tell("w1", {"a": Report(4, 40, 40)}, 3000)
    assert ledger.hear(3500) == [
        Heard("a", Report(6, 40, 40), 500),
        Heard("b", Report(7, 70, 70), 2500),
    ]


def test_a_restarted_worker_takes_the_place_of_the_dead_one() -> None:
    ledger = Ledger()
    ledger.tell("fra-1", {"a": Report(64, 10, 10)}, 0)
    assert ledger.hear(DEAD_US + 1) == [Heard("a", Report(64, 10, 10), DEAD_US + 1)]
    ledger.tell("fra-2", {"a": Report(0, 10, 10)}, DEAD_US + 1)
    assert ledger.hear(DEAD_US + 1) == [Heard("a", Report(0, 10, 10), 0)]


def test_a_ledger_that_heard_nothing_says_nothing() -> None:
    assert Ledger().hear(0) == []
