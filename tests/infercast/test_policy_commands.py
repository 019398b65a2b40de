"""`infercast policy check | test | schema`: what they say, and with which exit code."""

import json
import shutil
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("INFERCAST_FLEET", "INFERCAST_POLICIES", "INFERCAST_STATE"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "250"})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A copy of the example's files, to be spoilt."""
    shutil.copytree(ROOT / "policies" / "tenants", tmp_path / "tenants")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    shutil.copy(ROOT / "cluster.yaml", tmp_path / "cluster.yaml")
    return tmp_path


def policy(files: Path, command: str, *words: str) -> Result:
    return run("policy", command, "--fleet", str(files / "cluster.yaml"), "--policies", str(files / "tenants"), *words)


def spoil(path: Path, old: str, new: str) -> int:
    """Change a file's first `old`, and return its line."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def test_help_names_each_command_and_what_it_is_for() -> None:
    told = run("policy", "--help")
    assert told.exit_code == 0
    for word in ("check", "test", "schema"):
        assert word in told.output
        assert run("policy", word, "--help").exit_code == 0
    assert "policy" in run("--help").output


def test_check_holds_on_the_example_and_names_the_bases() -> None:
    told = run("policy", "check")
    assert told.exit_code == 0
    assert "hospital: 3 classes" in told.output
    assert "extends base/company.yaml" in told.output
    assert "4 policies, no faults" in told.output
    listed = json.loads(run("policy", "check", "--json").stdout)
    assert set(listed["policies"]) == {"annotator", "bank", "hospital", "studio"}
    assert len({each["digest"] for each in listed["policies"].values()}) == 4


def test_check_says_all_faults_of_fleet_base_tenants_and_shadows_at_once(files: Path) -> None:
    tenants = files / "tenants"
    (tenants / "shadow").mkdir()
    (tenants / "shadow" / "bank.yaml").write_text("version: 1\ntenant: bank\nclasses: {ledger: {}}\nmodel: x\n")
    lines = {
        tenants / "base" / "company.yaml": spoil(tenants / "base" / "company.yaml", "keep_days: 180", "keep_days: -1"),
        tenants / "bank.yaml": spoil(tenants / "bank.yaml", "no_training: true", "no_training: yes"),
        tenants / "shadow" / "bank.yaml": 4,
    }
    told = policy(files, "check")
    assert told.exit_code == 2
    assert [path for path, line in lines.items() if f"{path}:{line}: " not in told.stderr] == []
    assert told.stdout == ""
    lines[files / "cluster.yaml"] = spoil(files / "cluster.yaml", "country: DE", "country: DEU")
    told = policy(files, "check")
    assert told.exit_code == 2
    assert [path for path, line in lines.items() if f"{path}:{line}: " not in told.stderr] == []
    assert len(told.stderr.splitlines()) == len(lines)


def test_a_loosening_is_a_fault_with_the_bases_line(files: Path) -> None:
    tenants = files / "tenants"
    own = spoil(tenants / "bank.yaml", "no_training: true", "no_training: false")
    base = spoil(tenants / "base" / "company.yaml", "no_training: true", "no_training: true ")
    for command in ("check", "test"):
        told = policy(files, command)
        assert told.exit_code == 2
        assert f"bank.yaml:{own}: " in told.stderr
        assert f"company.yaml:{base}: permits training, the base does not" in told.stderr


def test_check_runs_no_cases_and_test_does(files: Path) -> None:
    spoil(files / "tenants" / "bank.cases.yaml", "site: fra", "site: dub")
    assert policy(files, "check").exit_code == 0
    told = policy(files, "test")
    assert told.exit_code == 1
    assert "site is fra, expected dub" in told.output
    listed = json.loads(policy(files, "test", "--json").stdout)
    assert listed["failed"] == 1
    assert [row["tenant"] for row in listed["cases"] if not row["holds"]] == ["bank"]
    assert run("check", "--fleet", str(files / "cluster.yaml"), "--policies", str(files / "tenants")).exit_code == 1


def test_test_holds_on_the_example() -> None:
    told = run("policy", "test")
    assert told.exit_code == 0
    assert "0 do not" in told.output


def test_test_exits_2_on_cases_that_name_what_is_not_there(files: Path) -> None:
    line = spoil(files / "tenants" / "bank.cases.yaml", "model: digits", "model: digit")
    told = policy(files, "test")
    assert told.exit_code == 2
    assert f"bank.cases.yaml:{line}: " in told.stderr


def test_schema_is_printed_as_it_is_committed_and_written_where_asked(tmp_path: Path) -> None:
    told = run("policy", "schema")
    assert told.exit_code == 0
    assert told.stdout == (ROOT / "policies" / "tenants" / "policy.schema.json").read_text(encoding="utf-8")
    jsonschema.Draft202012Validator.check_schema(json.loads(told.stdout))
    assert "tenant" not in json.loads(run("policy", "schema", "--base").stdout)["properties"]
    assert run("policy", "schema", "--write", str(tmp_path)).exit_code == 0
    for name in ("policy.schema.json", "base/base.schema.json"):
        assert (tmp_path / name).read_bytes() == (ROOT / "policies" / "tenants" / name).read_bytes()
