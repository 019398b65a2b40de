"""`infercast usage --prune`: no sum changes; and what usage makes of words that go together with nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from infercast.router.ledger.opening import ledger_url, open_store
from infercast.router.ledger.settler import Settler
from tests.infercast.test_usage import DAY_S, WORLD, check, rows, usage, write
from tests.router.ledger.test_lines import NOON_S

NOW_S = NOON_S + 40 * DAY_S
BY = ["--by", "tenant,model,site,day,entry,deployment,outcome"]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder whose calls are settled, in the month after."""
    for name in ("INFERCAST_STATE", "INFERCAST_LEDGER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("time.time", lambda: float(NOW_S))
    write(tmp_path, [*WORLD, {"at_s": NOW_S - DAY_S, "spent": [["large@fra", 9]]}])
    store = open_store(ledger_url(tmp_path))
    Settler(tmp_path / "journal", store).round()
    store.close()
    return tmp_path


def pruned(state: Path, *words: str) -> dict[str, Any]:
    done = usage(state, "--prune", "--json", *words)
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)["pruned"]
    return told


def test_no_sum_changes_and_the_books_are_what_the_journals_say(state: Path) -> None:
    by, whole, checked = rows(state, *BY), rows(state), check(state)
    assert pruned(state, "--before", "2026-11-26T23:00") == {
        "before": "2026-11-26",
        "entries": 5,
        "cost_nusd": 1_000_000_008,
    }
    assert (rows(state, *BY), rows(state)) == (by, whole)
    told = check(state)
    assert (told["agree"], told["pruned"], told["calls"], told["orphans"]) == (True, 4, checked["calls"] - 4, 1)
    assert told["journal_nusd"] == told["ledger_nusd"] == checked["ledger_nusd"] - 1_000_000_008
    said = usage(state, "--check").stdout
    assert "4 calls of the journals are sums of their days by now" in said
    assert pruned(state, "--before", "30d")["entries"] == 2
    assert (rows(state, *BY), rows(state)) == (by, whole)
    assert check(state)["agree"]
    assert json.loads(usage(state, "--orphans", "--json").stdout)["orphans"][0]["number"] == "fra-7-aa-0"


def test_what_was_done_is_said(state: Path) -> None:
    done = usage(state, "--prune", "--before", "2027-01-01")
    assert "7 entries of days before 2027-01-01 are daily sums now: 1.000000013 USD" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--prune"], "--prune: says nothing without --before (give both"),
        (["--before", "30d"], "--before: says nothing without --prune (give both"),
        (["--prune", "--before", "soon"], "--before: 'soon' is no time"),
        (["--prune", "--before", "3d"], "--before: budgets of 2027-01 are open, and its calls are still wanted one by one (2027-01-01 or earlier)"),
        (["--prune", "--before", "2999-01-01"], "2027-01-01 or earlier"),
        (["--prune", "--check", "--before", "40d"], "--check --prune: are two things at once"),
        (["--orphans", "--check"], "--orphans --check: are two things at once"),
        (["--check", "--csv", "--tenant", "bank"], "--tenant --csv: means nothing with --check"),
        (["--prune", "--before", "40d", "--since", "50d"], "--since: means nothing with --prune"),
        (["--since", "2026-11-26", "--until", "2026-11-25"], "--since --until: ends at 2026-11-25T00:00:00Z, and begins at 2026-11-26"),
    ],
)  # fmt: skip
def test_words_that_do_not_go_together_are_one_message(state: Path, words: list[str], said: str) -> None:
    done = usage(state, *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("✗") == 1


def test_a_day_that_has_been_pruned_is_asked_for_as_a_whole(state: Path) -> None:
    pruned(state, "--before", "30d")
    done = usage(state, "--since", "2026-11-25T12:00")
    assert done.exit_code == 2
    assert "--since: 2026-11-25 has been pruned: of its calls only the sum is known (give whole days" in done.stderr
    assert usage(state, "--since", "2026-11-25").exit_code == 0


def test_a_tenant_that_nobody_knows_may_be_another(state: Path) -> None:
    done = usage(state, "--tenant", "bnak")
    assert (done.exit_code, done.stdout) == (0, "nothing\n")
    assert "no call of 'bnak' is in this ledger: did you mean 'bank'?" in done.stderr
    assert usage(state, "--tenant", "bank", "--since", "2027-02-01").stderr == ""


@pytest.mark.parametrize("words", [["--prune", "--before", "2025-01-01"], ["--settle"]])
def test_no_ledger_is_made_for_that(tmp_path: Path, words: list[str]) -> None:
    done = usage(tmp_path, *words)
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "no ledger is here" in done.stderr


@pytest.mark.parametrize("noted", [b"\xff\xfe", b"", b"these are my notes"])
def test_a_note_that_names_no_ledger_is_told_by_its_name(tmp_path: Path, noted: bytes) -> None:
    (tmp_path / "ledger.url").write_bytes(noted)
    done = usage(tmp_path)
    assert done.exit_code == 2
    assert f"{tmp_path}/ledger.url: --ledger: holds no ledger's URL" in done.stderr
    assert done.stderr.count("✗") == 1
