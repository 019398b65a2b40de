"""`log replay`: a log that the router's own recorder wrote is decided again whole, and what differs is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app
from infercast.policies.model import Request
from infercast.policies.snapshot import Snapshot
from infercast.replay import redecide_all
from infercast.router.conduct.recorder import Recorder
from infercast.router.telemetry.decision_log import DecisionLog
from tests.router.fakes import WALL_S, FakeJournal, ask, example_engine, example_fleet
from tests.router.logs import Clock, key, lines_of, relinked, save

CALLS = 30


def write(folder: Path) -> Path:
    """A log of players' calls, some of them decided for a second time; signals change in between. Returns its file."""
    engine, snapshot = example_engine(), Snapshot.declared(example_fleet())
    log = DecisionLog(folder, "fra", key(), clock=Clock())
    recorder = Recorder("fra", example_fleet(), snapshot, log, FakeJournal())
    recorder.install(engine, None)
    for number in range(CALLS):
        request: Request = ask(id=f"r{number}", at_s=WALL_S + number, payload_bytes=100 * number)
        choice = engine.choose(request, snapshot)
        recorder.decided(engine, engine.decision_id(request, snapshot), request, choice, ())
        snapshot.count(choice.deployment, 1)
        if number % 3 == 0:
            again = engine.choose(request, snapshot, choice.deployments[:1])
            name = engine.decision_id(request, snapshot, choice.deployments[:1])
            recorder.decided(engine, name, request, again, choice.deployments[:1])
        if number % 10 == 9:
            snapshot.distrust(number % len(example_fleet().deployments), number)
    log.close()
    (path,) = folder.glob("*.jsonl")
    return path


def replay(folder: Path, *words: str) -> Result:
    """Run the command."""
    return CliRunner().invoke(app, ["log", "replay", "--log", str(folder), *words], env={"COLUMNS": "250"})


def test_every_decision_comes_out_alike(tmp_path: Path) -> None:
    write(tmp_path)
    told = replay(tmp_path)
    assert told.exit_code == 0
    assert "40 of 40 decisions come out alike" in told.output
    told = json.loads(replay(tmp_path, "--json").stdout)
    assert told == {"decisions": 40, "differing": {}, "pruned": 0, "unreadable": 0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.update(chosen=[body["chosen"][0] + 1]), "chosen is"),
        (lambda body: body.update(outcome="refused"), "outcome is"),
        (lambda body: body["request"].update(payload_bytes=5_000_000), "id is"),
        (lambda body: body.update(tried=[0]), "id is"),
    ],
    ids=["chosen", "outcome", "payload", "tried"],
)
def test_a_decision_that_was_altered_is_found_and_ends_with_1(
    tmp_path: Path, change: Callable[[Any], None], said: str
) -> None:
    path = write(tmp_path)
    lines = lines_of(path)
    body = next(line["body"] for line in lines if line["kind"] == "decision" and not line["body"]["tried"])
    change(body)
    save(path, relinked(path, lines))
    told = replay(tmp_path)
    assert told.exit_code == 1
    assert f"{body['id']}: " in told.output
    assert said in told.output
    assert "39 of 40 decisions come out alike" in told.output


def test_signals_that_were_altered_change_what_is_decided_on_them(tmp_path: Path) -> None:
    path = write(tmp_path)
    lines = lines_of(path)
    state = next(line["body"] for line in lines if line["kind"] == "snapshot")
    state["age_us"][0] += 1
    save(path, relinked(path, lines))
    assert 0 < len(redecide_all(tmp_path).differing) < 40


def test_what_was_pruned_is_counted_and_not_decided(tmp_path: Path) -> None:
    path = write(tmp_path)
    lines = lines_of(path)
    first = next(line for line in lines if line["kind"] == "decision")
    del first["body"], first["salt"]
    save(path, relinked(path, lines))
    told = replay(tmp_path)
    assert told.exit_code == 0
    assert "39 of 39 decisions come out alike; 1 were pruned" in told.output


def test_a_document_that_is_gone_is_said_with_exit_code_2(tmp_path: Path) -> None:
    write(tmp_path)
    for path in (tmp_path / "objects").glob("*.json"):
        if "tenant" in orjson.loads(path.read_bytes()):
            path.unlink()
    told = replay(tmp_path)
    assert told.exit_code == 2
    assert "the log does not hold the policy" in told.output


def test_no_log_is_bad_input(tmp_path: Path) -> None:
    assert replay(tmp_path / "none").exit_code == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: body.update(chosen=body["chosen"][:1]), "chosen is"),
        (lambda body: body.update(chosen=[]), "chosen is"),
        (lambda body: body.pop("chosen"), "chosen is"),
        (lambda body: body.update(rule=7), "rule is 0, the record says 7"),
        (lambda body: body.update(outcome="[/x]"), "the record says '[/x]'"),
    ],
    ids=["fallbacks cut off", "nothing chosen", "no choice", "rule", "markup"],
)
def test_what_is_left_out_of_a_record_is_found_too(tmp_path: Path, change: Callable[[Any], None], said: str) -> None:
    path = write(tmp_path)
    lines = lines_of(path)
    change(next(line["body"] for line in lines if line["kind"] == "decision" and len(line["body"]["chosen"]) > 1))
    save(path, relinked(path, lines))
    told = replay(tmp_path)
    assert told.exit_code == 1
    assert said in told.output


@pytest.mark.parametrize("words", [{"tenant": "hospital"}, {"model": "nope"}, {"classes": ["nope"]}, {"variant": "no"}])
def test_a_record_that_names_what_its_files_do_not_is_bad_input(tmp_path: Path, words: dict[str, Any]) -> None:
    path = write(tmp_path)
    lines = lines_of(path)
    next(line["body"] for line in lines if line["kind"] == "decision")["request"].update(words)
    save(path, relinked(path, lines))
    told = replay(tmp_path)
    assert told.exit_code == 2
    assert "names what its own fleet and policy do not" in told.output


@pytest.mark.parametrize(
    "change",
    [lambda body: body.pop("tried"), lambda body: body.update(tried=5)],
    ids=["nothing of tries", "tries that are none"],
)
def test_a_record_that_does_not_hold_what_it_should_is_bad_input(tmp_path: Path, change: Callable[[Any], None]) -> None:
    path = write(tmp_path)
    lines = lines_of(path)
    change(next(line["body"] for line in lines if line["kind"] == "decision"))
    save(path, relinked(path, lines))
    told = replay(tmp_path)
    assert told.exit_code == 2, told.output
    assert "cannot be read: " in told.output


def test_lines_that_cannot_be_read_are_owned_up_to(tmp_path: Path) -> None:
    path = write(tmp_path)
    raw = path.read_bytes().split(b"\n")
    spoilt = next(index for index, line in enumerate(raw) if b'"kind":"decision"' in line)
    raw[spoilt] = raw[spoilt][:-2]
    path.write_bytes(b"\n".join(raw))
    told = replay(tmp_path)
    assert "39 of 39 decisions come out alike" in told.output
    assert "1 lines cannot be read; `infercast log verify` says more" in told.stderr
