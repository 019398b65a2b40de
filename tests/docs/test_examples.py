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

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
NEEDS_A_CLUSTER = ("status", "call", "up", "down", "demo")


def commands(page: Path) -> list[str]:
    lines = re.findall(r"^    (infercast .*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines]


def offline() -> list[str]:
    return [line for page in PAGES for line in commands(page) if line.split()[1] not in NEEDS_A_CLUSTER]


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


def test_the_policy_of_the_guide_works_with_its_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(
        r"```yaml\n(.*?)```", (ROOT / "docs" / "policies.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    policy, cases = blocks[0], blocks[1]
    assert yaml.safe_load(policy)["tenant"] == "clinic"
    (tmp_path / "clinic.yaml").write_text(policy, encoding="utf-8")
    (tmp_path / "clinic.cases.yaml").write_text(cases, encoding="utf-8")
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(app, ["check", "--policies", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert "2 cases hold, 0 do not" in result.output


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
        "router/serving/worker.py",
        "sim/__init__.py",
        "cli.py",
    ):
        assert f"infercast/{inside}" in names
    assert not [name for name in names if not name.startswith(("infercast/", "infercast-"))]
