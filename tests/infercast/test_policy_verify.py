"""`infercast policy verify`: claims proved or broken with a call that shows it, exit codes, and where each claim stands."""

import json
import shlex
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infercast.cli import app
from infercast.commands.policy_verify import places_of_claims
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for name in ("INFERCAST_FLEET", "INFERCAST_POLICIES", "INFERCAST_STATE"):
        monkeypatch.delenv(name, raising=False)


def run(*words: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "250"})


@pytest.fixture
def tenants(tmp_path: Path) -> Path:
    """A copy of the tenants' files, to be changed."""
    return Path(shutil.copytree(ROOT / "policies" / "tenants", tmp_path / "tenants"))


def change(path: Path, old: str, new: str) -> int:
    """Change a file's first `old`, and return its line."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text[: text.index(old)].count("\n") + 1


def verify(tenants: Path, *words: str) -> Result:
    """Verify the copy."""
    return run("policy", "verify", "--policies", str(tenants), *words)


def test_every_claim_of_the_examples_is_proved() -> None:
    result = run("policy", "verify", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["failed"] == 0
    assert {claim["tenant"] for claim in told["claims"]} == {"annotator", "bank", "hospital", "studio"}
    for claim in told["claims"]:
        assert claim["answer"] == "proved"
        assert claim["kinds"] > 0
        path, line = claim["place"].rsplit(":", 1)
        assert (ROOT / path).read_text().splitlines()[int(line) - 1].startswith("  - ")


def test_a_loosened_rule_breaks_a_claim_and_the_command_line_shows_it(tenants: Path) -> None:
    change(tenants / "hospital.yaml", "transit: [EEA]", "transit: [EEA, GB]")
    result = verify(tenants, "--tenant", "hospital", "--json")
    assert result.exit_code == 1
    broken = [claim for claim in json.loads(result.stdout)["claims"] if claim["answer"] != "proved"]
    assert [claim["description"] for claim in broken] == ["What is about a patient stays in the EEA, on its way too."]
    example = broken[0]["counterexample"]
    assert example["why"].startswith("transited in GB")
    shown = run(*shlex.split(example["command"])[1:], "--json")
    assert json.loads(shown.stdout)["chosen"] == example["chosen"]


def test_a_broken_claim_is_told_with_its_place_and_its_description(tenants: Path) -> None:
    change(tenants / "studio.yaml", "operators: [aws]", "operators: [aws, metro-edge]")
    line = change(tenants / "studio.yaml", "- description: The publisher's", "- description: The publisher's")
    result = verify(tenants, "--tenant", "studio")
    assert result.exit_code == 1
    assert f"studio.yaml:{line}: The publisher's contract." in result.stdout
    assert "infercast explain --tenant studio" in result.stdout
    assert "2 claims proved, 1 not" in result.stdout


def test_a_tenant_that_claims_nothing_is_told_how(tenants: Path) -> None:
    path = tenants / "studio.yaml"
    path.write_text(path.read_text().split("\nclaims:")[0] + "\n")
    result = verify(tenants, "--tenant", "studio")
    assert result.exit_code == 0
    assert "studio: no claims (write `claims:` in" in result.stdout


def test_a_claim_about_something_unknown_is_a_fault_with_a_line(tenants: Path) -> None:
    line = change(tenants / "bank.yaml", "only: {sites: [fra]}", "only: {sites: [frau]}")
    result = verify(tenants)
    assert result.exit_code == 2
    assert f"bank.yaml:{line}: claims[2].only.sites" in result.output
    assert "did you mean 'fra'?" in result.output


def test_an_unknown_tenant_is_a_fault() -> None:
    result = run("policy", "verify", "--tenant", "hospitall")
    assert result.exit_code == 2
    assert "did you mean 'hospital'?" in result.output


def test_claims_of_a_base_bind_who_extends_it_and_stand_in_its_file(tenants: Path) -> None:
    base = next((tenants / "base").glob("*.yaml"))
    text = base.read_text()
    base.write_text(text + "\nclaims:\n  - never: {trained_on: true}\n")
    policies = load_policies(tenants, load_fleet(ROOT / "cluster.yaml"))
    heirs = [name for name, policy in policies.items() if policy.extends]
    assert heirs
    for name in heirs:
        places = places_of_claims(tenants / f"{name}.yaml", policies[name])
        assert len(places) == len(policies[name].claims)
        assert places[0] == f"{base}:{text.count(chr(10)) + 3}"
        assert all(place.startswith(f"{tenants / name}.yaml:") for place in places[1:])


def test_a_description_is_shown_as_it_stands_and_is_no_markup(tenants: Path) -> None:
    claim = '  - {description: "as [/docs] says", never: {processed: [DE]}}\n'
    change(tenants / "studio.yaml", "claims:\n", f"claims:\n{claim}")
    result = verify(tenants, "--tenant", "studio")
    assert result.exit_code == 1
    assert "as [/docs] says" in result.output
