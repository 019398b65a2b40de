"""What README and docs show, run as written."""

import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from infercast.cli import app
from infercast.policies.cases import CaseRequest, Expect
from infercast.policies.model import Rule
from infercast.policies.policy_schema import tenant_schema

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_A_CLUSTER = ("status", "call", "up", "down", "demo")
NEEDS_A_LEDGER = ("usage",)
"""Shown on a page of their own, which another test runs."""


def commands(page: Path) -> list[str]:
    lines = re.findall(r"^    (infercast .*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines]


def offline() -> list[str]:
    return [
        line for page in PAGES for line in commands(page) if line.split()[1] not in NEEDS_A_CLUSTER + NEEDS_A_LEDGER
    ]


@pytest.mark.parametrize("line", offline())
def test_a_command_of_the_readme_works_without_a_cluster(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, shlex.split(line)[1:])
    assert result.exit_code == 0, result.output


def test_the_readme_shows_some_commands_that_were_run() -> None:
    assert len(offline()) >= 3


def test_commands_that_need_a_cluster_are_real_ones() -> None:
    shown = {line.split()[1] for page in PAGES for line in commands(page)} & set(NEEDS_A_CLUSTER)
    for word in shown:
        assert CliRunner().invoke(app, [word, "--help"]).exit_code == 0


def guide() -> list[str]:
    """The YAML that the guide to policies shows, in its order."""
    text = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    return re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)


def checked(folder: Path, *command: str) -> str:
    result = CliRunner().invoke(app, [*command, "--policies", str(folder)])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_policy_of_the_guide_works_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "base").mkdir()
    first, cases, *more = guide()
    (tmp_path / "clinic.yaml").write_text(first, encoding="utf-8")
    (tmp_path / "clinic.cases.yaml").write_text(cases, encoding="utf-8")
    assert "2 cases hold, 0 do not" in checked(tmp_path, "check")
    for block in more:
        target, added = block.partition("\n")[0].split()[-1], yaml.safe_load(block)
        path = tmp_path / target
        if path.exists():
            whole = yaml.safe_load(path.read_text(encoding="utf-8"))
            merged = {**whole, **added}
            merged["cases"] = [*whole.get("cases", []), *added.get("cases", [])]
            path.write_text(yaml.safe_dump({key: part for key, part in merged.items() if part != []}), encoding="utf-8")
        else:
            path.write_text(block, encoding="utf-8")
        checked(tmp_path, "policy", "check")
    assert "4 cases hold, 0 do not" in checked(tmp_path, "policy", "test")
    assert "2 claims proved, 0 not" in checked(tmp_path, "policy", "verify")
    assert "extends base/house.yaml" in checked(tmp_path, "policy", "check")


def test_the_loosening_that_the_guide_shows_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    blocks = guide()
    (tmp_path / "base").mkdir()
    house = next(block for block in blocks if block.startswith("# base/house.yaml"))
    (tmp_path / "base" / "house.yaml").write_text(house.partition("\n")[2], encoding="utf-8")
    start, _, rest = blocks[0].partition("classes:")
    loose = start + "extends: base/house.yaml\nclasses:" + rest.replace("processing: [EEA]", "processing: [EEA, US]")
    (tmp_path / "clinic.yaml").write_text(loose.partition("\n")[2], encoding="utf-8")
    result = CliRunner().invoke(app, ["policy", "check", "--policies", str(tmp_path)])
    assert result.exit_code == 2
    page = (ROOT / "docs" / "policies.md").read_text(encoding="utf-8")
    shown = " ".join(
        line.strip() for line in re.findall(r"^    (clinic.yaml:.*\n.*)$", page, re.MULTILINE)[0].split("\n")
    )
    assert shown in result.output.replace(f"{tmp_path}/", "")


def test_the_guide_to_policies_names_every_key_and_rule() -> None:
    page = re.sub(r"```.*?```", "", (ROOT / "docs" / "policies.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    words = set(re.findall(r"[a-zA-Z_]+", " ".join(re.findall(r"`([^`]+)`", page))))
    schema = tenant_schema()
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part.get("properties", {})}
    assert keys - words == set()
    cases = {key.removeprefix("data_") for part in (CaseRequest, Expect) for key in part.model_fields}
    assert cases - words == set()
    assert [rule.word for rule in Rule if rule not in (Rule.NONE, Rule.TRIED) and f"`{rule.word}`" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_files_that_the_map_names_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:policies|router|infercast|tests)/[\w/.]+)`", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_every_folder_of_the_tree_stands_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for folder in ("policies", "router", "sim", "infercast"):
        assert f"`{folder}/`" in text


def test_the_wheel_holds_all_floors_under_one_name(tmp_path: Path) -> None:
    source = tmp_path / "tree"
    ignored = shutil.ignore_patterns(
        ".git", ".venv", ".infercast", "build", "*.egg-info", "__pycache__", "examples", "tests"
    )
    shutil.copytree(ROOT, source, symlinks=True, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    built = subprocess.run([*build, "-w", str(tmp_path), str(source)], check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
    for inside in (
        "policies/kernel.py",
        "policies/tenants/bank.yaml",
        "policies/tenants/policy.schema.json",
        "policies/tenants/base/company.yaml",
        "router/serving/worker.py",
        "sim/__init__.py",
        "cli.py",
    ):
        assert f"infercast/{inside}" in names
    assert not [name for name in names if not name.startswith(("infercast/", "infercast-"))]


def what_if_guide() -> dict[str, str]:
    """The scenarios that the guide to what-if shows, by name."""
    text = (ROOT / "docs" / "what-if.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, flags=re.DOTALL)
    return dict(blocks)


def test_the_scenarios_of_the_guide_are_accepted_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    shutil.copytree(ROOT / "policies" / "tenants", tmp_path / "policies" / "tenants")
    shutil.copy(ROOT / "cluster.yaml", tmp_path / "cluster.yaml")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    folder = tmp_path / "what" / "if"
    folder.mkdir(parents=True)
    for name, block in what_if_guide().items():
        (folder / name).write_text(block, encoding="utf-8")
    names = [str(folder / name) for name in what_if_guide()]
    assert len(names) == 3
    result = CliRunner().invoke(app, ["sim", "check", *names])
    assert result.exit_code == 0, result.output


def test_the_guide_to_what_if_shows_every_kind_of_change_and_every_key() -> None:
    from infercast.sim.changes import Change
    from infercast.sim.scenario_file import ScenarioFile

    every = yaml.safe_load(what_if_guide()["every.yaml"])
    assert {next(iter(change)) for change in every["changes"]} == set(Change.model_fields)
    text = (ROOT / "docs" / "what-if.md").read_text(encoding="utf-8")
    keys = text[text.index("## Every key") : text.index("## Every change")]
    assert all(f"`{key}`" in keys for key in ScenarioFile.model_fields)
