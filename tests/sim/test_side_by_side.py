"""Side by side: figures of a run, what is near enough, and what is not."""

import pytest

from infercast.sim.calibration_world import Outcome
from infercast.sim.side_by_side import Figures, Line, figures_of, side_by_side

FRA = ("t", "fra")


def answered(latency_us: int, cost_nusd: int = 50, site: str = "fra") -> Outcome:
    """An answer."""
    return Outcome("t", site, "answered", "", latency_us, cost_nusd)


def test_figures_of_a_run_are_by_tenant_and_place() -> None:
    calls = [answered(1_000 * ms) for ms in range(1, 22)] + [answered(70_000, site="dub")]
    calls += [Outcome("t", "", "refused", "privacy", 0, 0)] * 2 + [Outcome("t", "", "failed", "", 0, 0)]
    found = figures_of([*calls, Outcome("u", "fra", "answered", "", 5_000, 100)])
    assert found[(*FRA, "share")] == 21 / 25
    assert (found[(*FRA, "p50_ms")], found[(*FRA, "p95_ms")]) == (11.0, 20.0)
    assert found[(*FRA, "cost_usd_per_1000_calls")] == pytest.approx(50e-6)
    assert found[("t", "dub", "share")] == 1 / 25
    assert (found[("t", "privacy", "refused")], found[("t", "", "failed")]) == (2, 1)
    assert found[("u", "fra", "share")] == 1


def figures(share: float = 1.0, p50_ms: float = 10.0, cost: float = 1e-3, **counts: float) -> Figures:
    """Figures of a run of one tenant at Frankfurt; `counts` are of refusals by the rule `privacy`, and of failures."""
    found = {(*FRA, "share"): share, (*FRA, "p50_ms"): p50_ms, (*FRA, "cost_usd_per_1000_calls"): cost}
    return {**found, **{("t", "privacy" if name == "refused" else "", name): value for name, value in counts.items()}}


def line(name: str, live: list[Figures], simulated: list[Figures], others: tuple[Figures, ...] = ()) -> Line:
    """The line of a measure."""
    (found,) = [each for each in side_by_side(live, simulated, [*live, *others], {"t": 100}) if each.measure == name]
    return found


@pytest.mark.parametrize(
    ("name", "simulated", "near"),
    [
        ("share", figures(share=0.981), True),
        ("share", figures(share=0.979), False),
        ("p50_ms", figures(p50_ms=10.99), True),
        ("p50_ms", figures(p50_ms=8.99), False),
        ("cost_usd_per_1000_calls", figures(cost=1.029e-3), True),
        ("cost_usd_per_1000_calls", figures(cost=1.031e-3), False),
    ],
)
def test_a_figure_passes_within_its_goal(name: str, simulated: Figures, near: bool) -> None:
    found = line(name, [figures()], [simulated])
    assert (found.passes, found.in_goal) == (near, near)


def test_refusals_and_failures_are_equal_or_not() -> None:
    assert line("refused", [figures(refused=20)], [figures(refused=20)]).passes
    assert not line("refused", [figures(refused=20)], [figures(refused=21)]).passes
    assert not line("refused", [figures()], [figures(refused=1)]).passes
    assert not line("failed", [figures(failed=1)], [figures()]).passes


def test_where_live_runs_differ_the_goal_is_one_and_a_half_of_their_standard_deviations() -> None:
    live = [figures(p50_ms=value) for value in (8.0, 12.0)]
    found = line("p50_ms", live, [figures(p50_ms=14.0)])
    assert found.spread == pytest.approx(8**0.5)
    assert (found.passes, found.in_goal) == (True, False)
    assert not line("p50_ms", live, [figures(p50_ms=14.3)]).passes


def test_the_spread_is_that_of_all_live_runs_and_the_mean_of_those_compared() -> None:
    found = line("p50_ms", [figures(p50_ms=10)], [figures(p50_ms=13), figures(p50_ms=15)], (figures(p50_ms=20),))
    assert (found.live, found.simulated) == (10.0, 14.0)
    assert found.spread == pytest.approx(50**0.5)


def test_a_place_that_only_one_side_uses_is_a_line_of_its_own() -> None:
    simulated = {**figures(share=0.9), ("t", "dub", "share"): 0.1, ("t", "dub", "p50_ms"): 40.0}
    found = {
        (each.place, each.measure): each for each in side_by_side([figures()], [simulated], [figures()], {"t": 300})
    }
    assert (found[("dub", "share")].live, found[("dub", "share")].passes) == (0, False)
    assert ("dub", "p50_ms") not in found


def test_few_calls_have_no_latency_worth_comparing() -> None:
    names = {each.measure for each in side_by_side([figures(share=0.19)], [figures(share=0.19)], [], {"t": 100})}
    assert names == {"share"}
    names = {each.measure for each in side_by_side([figures(share=0.2)], [figures(share=0.2)], [], {"t": 100})}
    assert names == {"share", "p50_ms", "cost_usd_per_1000_calls"}


def test_money_is_counted_in_billionths_of_a_dollar_a_call() -> None:
    free = [figures(cost=0.0)]
    assert line("cost_usd_per_1000_calls", free, [figures(cost=0.9e-6)]).passes
    assert not line("cost_usd_per_1000_calls", free, [figures(cost=1.1e-6)]).passes
