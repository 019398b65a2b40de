"""The simulator is compiled before anything runs: said where it takes long, and given up at once when asked to."""

import time

import pytest
import typer

from infercast.commands import sim_running
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.sim.engine import make_ready
from infercast.sim.kernel.compiling import COMPILED
from infercast.sim.kernel.loop import advance
from infercast.sim.replications import jobs_of
from infercast.sim.scenario import Scenario, load_scenario
from tests.router.fakes import ROOT


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return load_scenario(ROOT / "examples" / "what-if" / "base.yaml")


@pytest.mark.skipif(not COMPILED, reason="numba is not installed: there is nothing to compile")
def test_what_is_made_ready_is_compiled_for_real_worlds_too(scenario: Scenario) -> None:
    make_ready(load_fleet(ROOT / "cluster.yaml"))
    before = len(advance.signatures)  # type: ignore[attr-defined]
    sim_running.run_with_progress(jobs_of(scenario), 1, None)
    assert len(advance.signatures) == before  # type: ignore[attr-defined]


def test_a_long_compilation_is_announced(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sim_running, "COMPILING_SAID_S", 0.01)
    monkeypatch.setattr(sim_running, "make_ready", lambda fleet: time.sleep(0.2))
    sim_running._make_ready(jobs_of(scenario))
    assert sim_running.COMPILING in capsys.readouterr().err


def test_an_interrupt_while_compiling_ends_at_once(
    scenario: Scenario, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(fleet: Fleet) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sim_running, "make_ready", interrupted)
    with pytest.raises(typer.Exit) as ended:
        sim_running._make_ready(jobs_of(scenario))
    assert ended.value.exit_code == 130
    assert "nothing has run" in capsys.readouterr().err
