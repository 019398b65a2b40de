"""What the page on usage shows, run as written, on a folder in which some calls have been settled."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from infercast.cli import app
from infercast.router.ledger.asking import DIMENSIONS
from infercast.router.ledger.reading import SUMS
from tests.infercast.test_usage import WORLD, settle, write

PAGE = (Path(__file__).parents[2] / "docs" / "usage.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", re.findall(r"^    (infercast .*)$", PAGE, flags=re.MULTILINE))
def test_a_command_of_the_page_works(line: str, tmp_path: Path) -> None:
    write(tmp_path, WORLD)
    settle(tmp_path)
    result = CliRunner().invoke(
        app, shlex.split(line)[1:], env={"INFERCAST_STATE": str(tmp_path), "INFERCAST_LEDGER": ""}
    )
    assert result.exit_code == 0, result.output


def test_every_column_and_dimension_is_told_of() -> None:
    for name in (*DIMENSIONS, *SUMS):
        assert f"`{name}`" in PAGE
