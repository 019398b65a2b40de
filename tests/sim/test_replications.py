"""Runs side by side: the same summaries wherever they run, and what a stop keeps."""

from pathlib import Path

import pytest

from infercast.policies.faults import BadInput, Fault
from infercast.sim.replications import Job, jobs_of, kept, run_all, run_job
from infercast.sim.scenario import Scenario
from tests.sim.scenarios import load


@pytest.fixture
def scenario(tmp_path: Path) -> Scenario:
    return load(tmp_path, {"fail": {"site": "dub", "from": "1s"}}, replications=3, seed=7)


def test_replications_have_the_seeds_that_follow_and_other_calls(scenario: Scenario) -> None:
    found = kept(run_all(jobs_of(scenario), workers=1))
    assert [summary.seed for summary in found] == [7, 8, 9]
    assert len({summary.overall.latency for summary in found}) == 3
    assert all(summary.overall.calls > 0 and not summary.stopped_early for summary in found)


def test_runs_in_processes_are_the_runs_in_this_one(scenario: Scenario) -> None:
    assert run_all(jobs_of(scenario), workers=2) == run_all(jobs_of(scenario), workers=1)


def test_progress_never_goes_back_and_ends_whole(scenario: Scenario) -> None:
    for workers in (1, 2):
        shares: list[float] = []
        run_all(jobs_of(scenario), workers, shares.append)
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1.0)


def test_a_stop_before_the_first_run_leaves_all_out(scenario: Scenario) -> None:
    assert run_all(jobs_of(scenario), 1, stop=lambda: True) == [None, None, None]


def test_a_stop_keeps_the_runs_that_are_done(scenario: Scenario) -> None:
    done = 0.0

    def watch(share: float) -> None:
        nonlocal done
        done = share

    first, *others = run_all(jobs_of(scenario), 1, watch, lambda: done >= 1 / 3)
    whole = run_job(Job(scenario, 0), lambda share: None, lambda: False)
    assert first == whole
    assert all(other is None for other in others)


def test_a_trace_that_cannot_be_read_is_said_from_another_process_too(tmp_path: Path) -> None:
    trace = {"file": "none.csv", "format": "azure_llm"}
    source = {"name": "traced", "tenant": "hospital", "model": "digits", "origins": ["paris"], "trace": trace}
    scenario = load(tmp_path, workload={"sources": [source]}, replications=2)
    for workers in (1, 2):
        with pytest.raises(BadInput, match=r"none\.csv"):
            run_all(jobs_of(scenario), workers)


def test_bad_input_travels_between_processes_whole() -> None:
    import pickle

    error = BadInput([Fault("f", 3, "a.b", "m", "r")])
    assert pickle.loads(pickle.dumps(error)).faults == error.faults
