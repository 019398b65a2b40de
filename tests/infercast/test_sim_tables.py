"""What `infercast sim …` prints: nothing breaks within a number or a word, whatever the terminal's width."""

import json
import re
from io import StringIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner, Result

from infercast.cli import app
from infercast.commands.app import out
from infercast.commands.sim_columns import Column, stacked
from infercast.commands.sim_sweep_tables import tails
from infercast.sim.measures import written
from tests.sim.scenarios import ROOT, write_scenario

DOWN = {"fail": {"site": "fra", "from": "1s"}}


@pytest.fixture(autouse=True)
def _in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def run(*words: object, columns: int = 250) -> Result:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(out, "width", columns)
        told = CliRunner().invoke(app, ["sim", *map(str, words)])
    assert told.exit_code == 0, told.output
    return told


def cells(text: str) -> list[str]:
    rows = [re.split("[│┃]", line)[1:-1] for line in text.splitlines() if line[:1] in ("│", "┃")]
    return [cell.strip() for row in rows for cell in row if cell.strip()]


WORDS = st.text("abcdefghij0123456789.,$%", min_size=1, max_size=15)


@given(
    columns=st.lists(st.lists(WORDS, min_size=4, max_size=4), min_size=1, max_size=12),
    width=st.integers(45, 200),
)
def test_stacked_tables_hold_every_cell_whole_within_the_width(columns: list[list[str]], width: int) -> None:
    printed = StringIO()
    console = Console(width=width, file=printed)
    names = Column("name", ["a", "b", "all"])
    for table in stacked(names, [Column(head, rest) for head, *rest in columns], console, last_apart=True):
        console.print(table, highlight=False, crop=False)
    text = printed.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    found = [cell for cell in cells(text) if cell not in ("name", "a", "b", "all")]
    wanted = [cell for column in columns for cell in column if cell not in ("a", "b")]
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize("columns", [60, 80])
def test_no_number_of_a_run_breaks(tmp_path: Path, columns: int) -> None:
    path = write_scenario(tmp_path, DOWN)
    wide, narrow = (run("run", path, columns=width).stdout for width in (250, columns))
    assert set(cells(narrow)) == set(cells(wide))
    tables = [line for line in narrow.splitlines() if line[:1] in "│┃┏┡├└"]
    assert all(len(line) <= columns for line in tables)


@pytest.mark.parametrize("columns", [60, 80])
def test_no_number_of_a_comparison_breaks(tmp_path: Path, columns: int) -> None:
    base, other = write_scenario(tmp_path, name="b.yaml"), write_scenario(tmp_path, DOWN)
    wide, narrow = (run("compare", base, other, "-n", 2, columns=width).stdout for width in (250, columns))
    shown = " ".join(cells(narrow))
    assert {cell for cell in cells(narrow) if cell[:1] in "+\N{MINUS SIGN}$"} <= set(cells(wide))
    assert {word for cell in cells(narrow) for word in cell.split()} <= {
        word for cell in cells(wide) for word in cell.split()
    }
    assert "difference" in shown
    assert all(len(line) <= columns for line in narrow.splitlines() if line[:1] in ("│", "┃"))


def test_calls_without_an_answer_are_counted_by_rule_a_line_each(tmp_path: Path) -> None:
    told = run("run", write_scenario(tmp_path, {"fail": {"site": "fra"}}, {"fail": {"site": "dub"}})).stdout
    after = told.split("without an answer:\n")[1].splitlines()
    assert re.fullmatch(r"  [a-z. ]+ [\d,]+: hospital [\d,]+", after[0])
    assert "without an answer" not in run("run", write_scenario(tmp_path, name="o.yaml")).stdout


def test_settings_are_headed_by_as_few_steps_as_tell_them_apart() -> None:
    assert tails(["policies.a.x.y"]) == {"policies.a.x.y": "y"}
    assert tails(["policies.a.y", "policies.b.y", "seed"]) == {
        "policies.a.y": "a.y",
        "policies.b.y": "b.y",
        "seed": "seed",
    }
    assert tails(["y", "a.y"]) == {"y": "y", "a.y": "a.y"}


def test_differences_that_may_be_chance_are_marked_and_no_others(tmp_path: Path) -> None:
    base, other = write_scenario(tmp_path, name="b.yaml"), write_scenario(tmp_path, DOWN)
    marked = certain = 0
    told = run("compare", base, other, "-n", 3).stdout
    for row in (cells(line) for line in told.splitlines() if line.startswith("│") and "±" in line):
        found = re.fullmatch(r"(~ )?[+\N{MINUS SIGN}]?\$?([\d,.]+) ± ([\d,.]+).*", row[-1])
        assert found, row
        change, half = (float(each.replace(",", "")) for each in found.group(2, 3))
        if half == change:
            continue  # what is printed is rounded
        assert (found[1] is not None) == (half > change), row
        marked, certain = marked + (found[1] is not None), certain + (found[1] is None)
    assert marked
    assert certain
    assert "~ may be chance" in told
    assert "~" not in run("compare", base, other).stdout


def test_a_site_shows_its_busiest_deployment(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    (each,) = json.loads(run("run", path, "--json").stdout)["runs"]
    at_fra = {name: busy["utilisation"] for name, busy in each["deployments"].items() if name.endswith("@fra")}
    most = max(at_fra, key=at_fra.__getitem__)
    assert at_fra[most] > each["busy"]["fra"]["utilisation"]
    (row,) = (cells(line) for line in run("run", path).stdout.splitlines() if line.startswith("│ fra "))
    assert row[-2:] == [most.removesuffix("@fra"), written(at_fra[most], "share")]


def test_a_sweep_whose_points_do_not_differ_says_so(tmp_path: Path) -> None:
    path = write_scenario(tmp_path)
    same = run("sweep", path, "--over", "bins=100,200").stdout
    assert "no point differs from another" in same
    assert "no point differs" not in run("sweep", path, "--over", "traffic.scale=1,2").stdout


def test_a_point_that_answers_less_is_left_out_of_the_frontier(tmp_path: Path) -> None:
    path = write_scenario(tmp_path, {"fail": {"site": "fra", "from": "1s"}}, {"fail": {"site": "dub", "from": "1s"}})
    words = ("sweep", path, "--over", "changes[1].fail.from=1s,100s")
    less, more = json.loads(run(*words, "--json").stdout)["points"]
    assert less["answered_share"] < more["answered_share"] - 0.01
    assert less["cost_usd_per_day"] < more["cost_usd_per_day"]
    assert (less["on_frontier"], more["on_frontier"]) == (False, True)
    assert "answer over 1 point less" in run(*words).stdout
