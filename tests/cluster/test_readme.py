"""The client that the README shows, and its commands, against a running system."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infercast.cli import app
from tests.cluster.live import ROOT, Live

README = (ROOT / "README.md").read_text(encoding="utf-8")
CALLS = re.findall(r"^    infercast ((?:call|status|usage).*)$", README, flags=re.MULTILINE)


PROGRAMS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize(("client", "prints"), [("openai", r"(?s).+"), ("tritonclient", r"digits-\w+ \[\d\]\n")])
def test_the_clients_of_the_readme_are_answered(live: Live, tmp_path: Path, client: str, prints: str) -> None:
    (program,) = (program for program in PROGRAMS if client in program)
    assert "127.0.0.1:8000" in program
    (tmp_path / ".infercast").symlink_to(live.state)
    words = [sys.executable, "-c", program.replace("127.0.0.1:8000", f"127.0.0.1:{live.running.port}")]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(prints, ran.stdout)


@pytest.mark.parametrize("line", CALLS)
def test_a_command_of_the_readme_works_on_a_running_system(live: Live, line: str) -> None:
    result = CliRunner().invoke(app, [*shlex.split(line, comments=True), "--state", str(live.state)])
    assert result.exit_code == 0, result.output


def test_the_readme_shows_calls_that_were_run() -> None:
    assert len(CALLS) >= 3
