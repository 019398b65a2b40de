"""What callers, journals and the decision log say of a run, put together; and the tables that are made of it."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from infercast.calibrate import believed_of, rerun_of
from infercast.cli import app
from infercast.commands.sim_calibrate import BEGIN, END
from infercast.commands.sim_calibrate_words import HEAD, Calibrated, as_markdown, lines_of, machine, profile_rows
from infercast.load import Ended, Payloads, Sender, Sent, Stream
from infercast.policies import kernel
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies
from infercast.policies.snapshot import Snapshot
from infercast.sim.calibration import Comparison
from infercast.sim.measured import Measured, Profile, Rerun
from infercast.sim.side_by_side import Line

ROOT = Path(__file__).resolve().parents[2]
STARTS_S = 1_795_000_000.25
WARD = {
    "name": "w",
    "tenant": "hospital",
    "class": "personal",
    "model": "digits",
    "from": "paris",
    "entries": ["dub", "fra"],
}


@cache
def fleet() -> Fleet:
    """The example fleet."""
    return load_fleet(ROOT / "cluster.yaml")


@cache
def policies() -> dict[str, Policy]:
    """The example's policies."""
    return load_policies(ROOT / "policies" / "tenants", fleet())


def stream(**more: Any) -> Stream:
    """The ward in Paris, that calls by Dublin first."""
    return Stream.model_validate({**WARD, "calls": 2, **more})


def line(call: str, place: str, **more: Any) -> dict[str, Any]:
    """A journal's line of a call."""
    usual = {"deployment": f"digits-large@{place}", "ran_us": 900, "at_site_us": 800, "service_us": 700}
    return {"request": call, "place": place, "at": STARTS_S + 0.5, "cost_usd": 6e-8, "attempts": ["x"], **usual, **more}


def gathered(sents: list[Sent], *lines: dict[str, Any], learned: tuple[tuple[int, dict[str, Any]], ...] = ()) -> Rerun:
    """What is made of streams that were sent, and journals' lines."""
    payloads = Payloads(fleet(), ROOT)
    sender = Sender(fleet(), policies(), payloads, lambda *_: ("", ""), lambda: None)
    return rerun_of(
        fleet(), sender, payloads, sents, {(each["request"], each["place"]): each for each in lines}, learned
    )


def answered(call: str, entry: str, sent_s: float, latency_ms: float = 12.5) -> Ended:
    """An answer, as its caller saw it."""
    return Ended("answered", "", entry, entry, "digits-large", latency_ms, 6e-8, 1, call=call, sent_s=sent_s)


def test_an_answer_is_joined_with_the_line_of_its_call_at_its_entry() -> None:
    sent = Sent(stream(), [answered("a", "dub", STARTS_S)])
    rerun = gathered([sent], line("a", "dub"), line("a", "fra", ran_us=1), line("b", "dub", ran_us=2))
    body = len(Payloads(fleet(), ROOT).of("digits", 0)[0])
    assert rerun.calls == (
        Measured(
            0, 0, body, "answered", "", "dub", "digits-large@dub", latency_us=12_500, ended_us=500_000, ran_us=900,
            at_site_us=800, service_us=700, told_nusd=60, attempts=1,
        ),
    )  # fmt: skip
    assert (rerun.starts_at_s, rerun.patience_us) == (1_795_000_000, (200_000,))


def test_calls_come_in_order_of_sending_whatever_stream_they_are_of() -> None:
    first = Sent(stream(), [answered("a", "dub", STARTS_S + 0.2), answered("b", "dub", STARTS_S + 0.4)])
    second = Sent(stream(**{"from": "berlin"}), [answered("c", "fra", STARTS_S)])
    rerun = gathered([first, second], line("a", "dub"), line("b", "dub"), line("c", "fra"))
    assert [call.sent_us for call in rerun.calls] == [0, 200_000, 400_000]
    assert [rerun.kinds[call.kind].origin for call in rerun.calls] == ["berlin", "paris", "paris"]


def test_a_stream_that_turned_to_its_second_entry_is_sent_there_in_the_simulation_too() -> None:
    lost = Ended("failed", "no answer", "dub", sent_s=STARTS_S)
    rerun = gathered([Sent(stream(), [lost, answered("a", "fra", STARTS_S + 1)])], line("a", "fra"))
    assert [kind.entries for kind in rerun.kinds] == [("dub",), ("fra",)]
    assert [(call.ended, call.entry) for call in rerun.calls] == [("failed", "dub"), ("answered", "fra")]


@pytest.mark.parametrize(
    ("ended", "rule"),
    [
        (Ended("refused", "wrong_entry entry.residency", "iad", sent_s=STARTS_S), "entry.residency"),
        (Ended("refused", "saturated capacity", "iad", sent_s=STARTS_S), "capacity"),
        (Ended("failed", "deadline", "iad", sent_s=STARTS_S), ""),
    ],
)
def test_a_call_without_an_answer_keeps_its_rule(ended: Ended, rule: str) -> None:
    (call,) = gathered([Sent(stream(), [ended])]).calls
    assert (call.ended, call.rule, call.deployment) == (ended.outcome, rule, "")


def state_with(p50_us: int, rtt_us: int) -> dict[str, Any]:
    """Signals of an epoch: digits-large in Dublin, for the size of its calls, and the way from Dublin to Frankfurt."""
    state = Snapshot.declared(fleet()).state()
    row = state["live"][fleet().deployment_index["digits-large@dub"]]
    row[kernel.L_P50_US], row[kernel.L_SPREAD_US] = p50_us, 100
    return {**state, "rtt": {"dub": {str(fleet().tables.site_index["fra"]): [rtt_us, 3_000]}}}


def test_what_was_believed_is_the_median_over_the_epochs_of_the_run() -> None:
    states = [state_with(500, 30_000), state_with(900, 50_000), state_with(600, 31_000)]
    found = believed_of(fleet(), {"digits": 400}, states)
    assert found.server_us["digits-large@dub"] == (600, 700)
    assert found.trip_us == {("dub", "fra"): (31_000, 34_000)}
    assert "resnet50@iad" not in found.server_us
    assert found.surprises == {}


def test_surprises_are_those_that_an_entry_began_with() -> None:
    small, large = (fleet().deployment_index[name] for name in ("digits-small@fra", "digits-large@dub"))
    states = [{**state_with(1, 1), "z": z} for z in (
        {"fra": {str(small): [0, 1, 2, 3]}}, {"fra": {str(small): [9, 9, 9, 9]}, "dub": {str(large): [4, 5, 6, 7]}}
    )]  # fmt: skip
    found = believed_of(fleet(), {"digits": 400}, states).surprises
    assert found == {("fra", "digits-small@fra"): (0, 1, 2, 3), ("dub", "digits-large@dub"): (4, 5, 6, 7)}


def test_signals_of_other_times_are_not_this_runs() -> None:
    sents = [Sent(stream(), [answered("a", "dub", STARTS_S), answered("b", "dub", STARTS_S + 10)])]
    learned = ((1_795_000_005, state_with(500, 30_000)), (1_795_000_020, state_with(900, 90_000)))
    rerun = gathered(sents, line("a", "dub"), line("b", "dub"), learned=learned)
    assert rerun.believed.trip_us == {("dub", "fra"): (30_000, 33_000)}


def done(*lines: Line) -> Calibrated:
    """A comparison with a small profile."""
    profile = Profile({"v@fra": (1_000,) * 20}, {("fra", "dub"): (30_000, 31_000)}, {"fra": (2_000,)})
    alone = Profile({"v@fra": (500,)}, {}, {})
    return Calibrated(Comparison(lines, profile, True, 2e-6, 3e-6), alone, 10, 622, "a machine")


LINES = (
    Line("bank", "fra", "share", 0.5, 0.51, 0.0, 0.02),
    Line("bank", "fra", "p50_ms", 20.0, 23.0, 3.0, 2.0),
    Line("bank", "fra", "cost_usd_per_1000_calls", 6e-5, 7e-5, 1e-7, 2e-6),
    Line("bank", "privacy", "refused", 20.0, 20.0, 0.0, 0.0),
)


def test_the_table_says_live_simulated_error_goal_spread_and_verdict() -> None:
    rows = [row[3:] for row in lines_of(done(*LINES).comparison)]
    assert rows == [
        ("50.0%", "51.0%", "+1.0 points", "2.0 points", "0.0%", "yes"),
        ("20.0 ms", "23.0 ms", "+15.0%", "10%", "3.0 ms", "by spread"),
        ("60.0", "70.0", "+16.7%", "3%", "0.1", "no"),
        ("20", "20", "+0.0", "0", "0", "yes"),
    ]


def test_the_markdown_holds_both_tables_and_counts_what_misses() -> None:
    text = as_markdown(done(*LINES))
    assert "2 of 4 figures are within their goals, 1 more within 1.5 spreads of the live reruns, 1 neither." in text
    assert f"| {' | '.join(HEAD)} |" in text
    assert "| time at v@fra | 20 | 1.00 | 1.00 | 0.50 | 0.50 |" in text
    assert "| way fra~dub | 2 | 30.50 | 30.95 |  |  |" in text
    assert [row["name"] for row in profile_rows(done().comparison.profile, done().alone)] == ["fra", "v@fra", "fra~dub"]


def test_the_machine_is_said_with_its_load() -> None:
    assert "load 1.5 before, 2.0 after" in machine("25 November 2026", (1.5, 1, 1), (2.0, 1, 1))


@pytest.fixture
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def run(*words: object) -> Result:
    """Run the command; nothing starts where its words are at fault."""
    return CliRunner().invoke(app, ["sim", "calibrate", *map(str, words)], env={"COLUMNS": "250"})


@pytest.mark.usefixtures("_in_the_repository")
@pytest.mark.parametrize("text", ["no place", f"{END}\n{BEGIN}", BEGIN])
def test_a_file_without_a_place_for_the_tables_is_refused_before_anything_starts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "page.md"
    path.write_text(text)
    told = run("--write-docs", path, "--state", tmp_path / "state")
    assert told.exit_code == 2
    assert "it has no place for the tables" in told.stderr
    assert path.read_text() == text
    assert not (tmp_path / "state").exists()


@pytest.mark.usefixtures("_in_the_repository")
def test_help_says_what_it_does_and_how_it_ends() -> None:
    told = " ".join(run("--help").output.replace("│", " ").split())
    for word in ("--reruns", "--write-docs", "--traffic", "--json", "side by side", "Exit code 1"):
        assert word in told


def test_the_page_has_a_place_for_the_tables_and_its_figures_are_whole() -> None:
    page = (ROOT / "docs" / "calibration.md").read_text(encoding="utf-8")
    tables = page.partition(BEGIN)[2].partition(END)[0]
    assert f"| {' | '.join(HEAD)} |" in tables
    assert json.dumps(tables).count("reruns of") == 1
