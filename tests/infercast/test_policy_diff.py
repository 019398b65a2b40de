"""`infercast policy diff`: what changes, over every kind of call, a file's calls or a log's; exit codes and faults."""

import json
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app
from infercast.past_calls import calls_of_file, calls_of_log
from infercast.policies.faults import BadInput
from infercast.router.telemetry.chain import DECISION, OPEN, first_prev, new_line

ROOT = Path(__file__).resolve().parents[2]
TENANTS = "policies/tenants"
CALL = {"tenant": "hospital", "model": "digits", "entry": "fra", "origin": "paris", "classes": ["personal"]}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("INFERCAST_FLEET", "INFERCAST_POLICIES", "INFERCAST_STATE"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, ["policy", "diff", *words], env={"COLUMNS": "250"})


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """The tenants with Britain opened to patients' pictures, and a deadline that no site comes near."""
    folder = Path(shutil.copytree(ROOT / TENANTS, tmp_path / "tenants"))
    path = folder / "hospital.yaml"
    text = path.read_text()
    assert "transit: [EEA]" in text
    assert "deadline_ms: 1000" in text
    path.write_text(
        text.replace("transit: [EEA]", "transit: [EEA, GB]").replace("deadline_ms: 1000", "deadline_ms: 900")
    )
    return folder


def told(result: Result) -> dict[str, Any]:
    """What a program reads."""
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_nothing_changed_is_no_difference() -> None:
    result = run(TENANTS, TENANTS, "--json", "--exit-code")
    assert result.exit_code == 0
    assert (told(result)["differing"], told(result)["changes"], told(result)["words"]) == (0, [], [])
    assert told(result)["calls"] > 1000


def test_what_is_newly_allowed_is_counted_and_the_word_is_named(new: Path) -> None:
    found = told(run(TENANTS, str(new), "--json"))
    allowed = [change for change in found["changes"] if change["what"] == "newly allowed"]
    assert {change["why"] for change in allowed} == {"residency.transit", "entry.transit"}
    assert {name for change in allowed for name in change["classes"]} == {"personal"}
    assert all(change["calls"] > 0 for change in found["changes"])
    assert not [change for change in found["changes"] if change["what"] in ("newly vetoed", "newly refused")]
    assert {word["place"]: word["matters"] for word in found["words"]} == {
        "classes.personal.residency.transit.allow": True,
        "classes.open.deadline_ms": False,
    }


def test_the_table_says_it_to_people_and_the_exit_code_to_machines(new: Path) -> None:
    result = run(TENANTS, str(new))
    assert result.exit_code == 0
    assert "kinds of call are decided differently" in result.stdout
    apart = result.stdout.split("Words that change no decision by themselves:")[1]
    assert "hospital: classes.open.deadline_ms: 1000.0 → 900.0" in apart
    assert run(TENANTS, str(new), "--exit-code").exit_code == 1


def test_one_file_is_compared_with_that_tenant_alone(new: Path) -> None:
    found = told(run(f"{TENANTS}/hospital.yaml", str(new / "hospital.yaml"), "--json"))
    mixed = told(run(TENANTS, str(new / "hospital.yaml"), "--json"))
    assert found == mixed
    assert (found["added"], found["removed"]) == ([], [])


def test_a_tenant_that_goes_is_a_difference(new: Path) -> None:
    (new / "studio.yaml").unlink()
    (new / "studio.cases.yaml").unlink()
    result = run(TENANTS, str(new), "--json", "--exit-code")
    assert told(result)["removed"] == ["studio"]
    assert result.exit_code == 1


def test_over_the_calls_of_a_file(new: Path, tmp_path: Path) -> None:
    calls = tmp_path / "calls.jsonl"
    lines = [CALL, {**CALL, "entry": "iad"}, {"id": "logged", "request": {"id": "r", **CALL}}]
    calls.write_text("\n".join(json.dumps(line) for line in lines) + "\n\n")
    found = told(run(TENANTS, str(new), "--requests", str(calls), "--json"))
    assert (found["calls"], found["differing"]) == (3, 2)
    assert {change["what"] for change in found["changes"]} == {"newly allowed", "other fallbacks"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("{", "Expecting"),
        ("[]", "is no JSON object"),
        ('{"tenant": "t"}', "lacks model, entry, origin"),
        (json.dumps({**CALL, "clases": []}), "has 'clases'"),
        (json.dumps({**CALL, "model": 1}), "no text"),
        (json.dumps({**CALL, "classes": "personal"}), "no text"),
        (json.dumps({**CALL, "payload_bytes": 1.5}), "not whole"),
        (json.dumps({**CALL, "payload_bytes": -1}), "count from 0"),
    ],
)
def test_a_line_that_is_no_call_is_a_fault_with_its_number(tmp_path: Path, line: str, fault: str) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(f"{json.dumps(CALL)}\n{line}\n")
    with pytest.raises(BadInput) as caught:
        calls_of_file(path)
    assert [each.line for each in caught.value.faults] == [2]
    assert fault in caught.value.faults[0].message


def test_over_the_calls_of_a_log(tmp_path: Path) -> None:
    """Each call once, however often it was tried; what cannot be read is counted."""
    folder = tmp_path / "decisions"
    folder.mkdir()
    path = folder / "fra-1-1700000000000.jsonl"
    record = {"version": 1, "id": "d", "request": {"id": "r", **CALL}, "tried": []}
    prev, raw = first_prev(path.name), b""
    for seq, (kind, body) in enumerate([(OPEN, {}), (DECISION, record), (DECISION, {**record, "tried": [3]})]):
        keep_until_s = 1_800_000_000 if kind == DECISION else None
        line, prev = new_line(prev, seq, kind, 1_700_000_000, keep_until_s, orjson.dumps(body))
        raw += line
    path.write_bytes(raw + b"{spoilt}\n")
    found = calls_of_log(tmp_path)
    assert [request.id for request in found.requests] == ["r"]
    assert found.left_out == 1


def test_faults_of_both_sides_come_at_once(new: Path, tmp_path: Path) -> None:
    for name in ("bank", "studio"):
        path = new / f"{name}.yaml"
        path.write_text(path.read_text().replace("version: 1", "version: 2"))
    result = run(str(new / "bank.yaml"), str(new / "studio.yaml"))
    assert result.exit_code == 2
    assert "bank.yaml:" in result.output
    assert "studio.yaml:" in result.output
    both = run(TENANTS, TENANTS, "--log", str(tmp_path), "--requests", str(tmp_path))
    assert both.exit_code == 2
    assert "give one of them" in both.output
