"""The floors install as `infercast.policies`, `infercast.router`, `infercast.sim`: a user's own names stay the user's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import {theirs}
import infercast.{theirs}
import infercast.router.oip, infercast.policies.engine, infercast.sim
assert {theirs}.MINE == "mine", {theirs}.__file__
assert not hasattr(infercast.{theirs}, "MINE")
print(infercast.router.oip.parse_infer.__module__, infercast.policies.engine.Engine.__module__)
"""


@pytest.mark.parametrize("theirs", ["router", "policies", "sim"])
@pytest.mark.parametrize("package", [True, False])
def test_a_program_with_a_module_of_the_same_name_keeps_it(tmp_path: Path, theirs: str, package: bool) -> None:
    module = tmp_path / theirs / "__init__.py" if package else tmp_path / f"{theirs}.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text('MINE = "mine"\n')
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(theirs=theirs))
    command = [sys.executable, program.name]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["infercast.router.oip", "infercast.policies.engine"]


@pytest.mark.parametrize("theirs", ["router", "policies", "sim"])
def test_nothing_of_ours_is_importable_under_a_common_name(tmp_path: Path, theirs: str) -> None:
    command = [sys.executable, "-c", f"import {theirs}"]
    installed = {name: text for name, text in os.environ.items() if name != "PYTHONPATH"}
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False, env=installed)
    assert ran.returncode == 1
    assert f"No module named '{theirs}'" in ran.stderr


@pytest.mark.parametrize("module", ["check", "demo", "call", "explain", "running"])
def test_any_command_may_be_imported_first(module: str) -> None:
    program = f"import infercast.commands.{module}"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
