"""`infercast usage`: what is shown, to the nano-dollar, and what the check of the books finds."""

import csv
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from infercast.cli import app
from infercast.policies.units import nusd, usd_text
from infercast.router.ledger.opening import ledger_url, note, open_store
from infercast.router.ledger.settler import Settler
from infercast.router.telemetry.journal import FileJournal
from tests.router.ledger.test_lines import NOON_S, line

DAY_S = 86_400
WORLD: list[dict[str, Any]] = [
    {"tenant": "bank", "model": "chat", "spent": [["large@fra", 1_000_000_001]], "tokens": [10, 20]},
    {"tenant": "bank", "model": "chat", "spent": [["large@fra", 2], ["small@dub", 3]], "at_s": NOON_S + DAY_S},
    {"tenant": "bank", "model": "digits", "spent": [], "deployment": None, "outcome": "refused"},
    {"tenant": "bank", "model": "digits", "spent": [["small@dub", 7]], "deployment": None, "outcome": "failed"},
    {"tenant": "studio", "model": "digits", "spent": [], "cached": True},
]


@pytest.fixture(autouse=True)
def _no_other_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INFERCAST_STATE", "INFERCAST_LEDGER"):
        monkeypatch.delenv(name, raising=False)


def usage(state: Path, *words: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["usage", *words, "--state", str(state)], env={"COLUMNS": "250", **env})


def write(state: Path, calls: list[dict[str, Any]], place: str = "fra") -> None:
    """Write the lines of calls, and of one that was reserved and never ended."""
    journal = FileJournal(state / "journal", place)
    journal.write("reserved", number=f"{place}-7-aa-0", tenant="bank", model="chat", at_s=NOON_S, reserved_nusd=5_000)
    for number, parts in enumerate(calls, 1):
        facts = line(number=f"{place}-7-aa-{number}", **parts)
        journal.write("call", **{name: fact for name, fact in facts.items() if name not in ("at", "place", "kind")})
    journal.close()


def settle(state: Path) -> None:
    store = open_store(ledger_url(state))
    Settler(state / "journal", store).round()
    store.close()


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder whose calls are settled."""
    write(tmp_path, WORLD)
    settle(tmp_path)
    return tmp_path


def rows(state: Path, *words: str) -> list[dict[str, Any]]:
    done = usage(state, "--json", *words)
    assert done.exit_code == 0, done.output
    told: list[dict[str, Any]] = json.loads(done.stdout)["usage"]
    return told


def test_sums_by_tenant_and_model(state: Path) -> None:
    first, second, third = rows(state)
    assert first == {
        "tenant": "bank", "model": "chat", "calls": 2, "answered": 2, "refused": 0, "failed": 0, "orphaned": 1, "cached": 0,
        "lost_tries": 1, "prompt_tokens": 10, "completion_tokens": 20, "cost_nusd": 1_000_000_006, "cost_usd": "1.000000006",
    }  # fmt: skip
    assert (second["refused"], second["failed"], second["lost_tries"], second["cost_nusd"]) == (1, 1, 1, 7)
    assert (third["tenant"], third["cached"], third["cost_usd"]) == ("studio", 1, "0.000000000")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--by", ""], [((), 1_000_000_013)]),
        (["--by", "site"], [(("",), 0), (("dub",), 10), (("fra",), 1_000_000_003)]),
        (["--by", "day,tenant"], [(("2026-11-25", "bank"), 1_000_000_008), (("2026-11-25", "studio"), 0), (("2026-11-26", "bank"), 5)]),
        (["--by", "tenant", "--since", "2026-11-26"], [(("bank",), 5)]),
        (["--by", "tenant", "--until", "2026-11-26", "--tenant", "bank"], [(("bank",), 1_000_000_008)]),
        (["--by", "tenant", "--tenant", "nobody"], []),
        (["--by", "deployment, outcome", "--since", "2026-11-26T12:00"], [(("large@fra", "answered"), 2), (("small@dub", "lost"), 3)]),
    ],
)  # fmt: skip
def test_any_combination(state: Path, words: list[str], expected: list[tuple[tuple[str, ...], int]]) -> None:
    names = [name.strip() for name in words[1].split(",") if name]
    assert [(tuple(row[name] for name in names), row["cost_nusd"]) for row in rows(state, *words)] == expected


def test_for_people_and_for_spreadsheets(state: Path, tmp_path: Path) -> None:
    table = usage(state, "--by", "tenant").stdout
    assert "1.000000013" in table
    assert "in all 5 calls, 1.000000013 USD" in table
    printed = usage(state, "--by", "tenant,day", "--csv").stdout
    assert usage(state, "--by", "tenant,day", "--output", str(tmp_path / "out.csv")).exit_code == 0
    assert (tmp_path / "out.csv").read_text() == printed
    first = next(csv.DictReader(printed.splitlines()))
    assert (first["tenant"], first["day"], first["cost_usd"], first["calls"]) == (
        "bank",
        "2026-11-25",
        "1.000000008",
        "3",
    )


def test_a_callers_words_are_no_formula_and_no_markup(tmp_path: Path) -> None:
    write(tmp_path, [{"model": "=cmd|' /C calc'!A0"}, {"model": "[red]\x1b[2J"}])
    settle(tmp_path)
    assert "'=cmd" in usage(tmp_path, "--csv").stdout
    shown = usage(tmp_path).stdout
    assert "[red]\ufffd[2J" in shown
    assert "\x1b" not in shown


def test_orphans_are_listed(state: Path) -> None:
    done = json.loads(usage(state, "--orphans", "--json").stdout)
    assert done["orphans"] == [
        {"at": "2026-11-25T12:00:00Z", "number": "fra-7-aa-0", "tenant": "bank", "model": "chat", "entry": "fra",
         "reserved_nusd": 5000, "reserved_usd": "0.000005000"}
    ]  # fmt: skip
    assert "fra-7-aa-0" in usage(state, "--orphans").stdout


def test_what_is_not_settled_yet_is_said_and_can_be_settled(state: Path) -> None:
    assert json.loads(usage(state, "--json").stdout)["unsettled_calls"] == 0
    write(state, [{"spent": [["large@fra", 5], ["small@dub", 1]]}, {}], place="sin")
    done = usage(state, "--by", "")
    assert "2 calls stand in the journals and are not settled yet" in done.stderr
    assert "1.000000013" in done.stdout
    assert "1.000000023" in usage(state, "--by", "", "--settle").stdout
    assert json.loads(usage(state, "--json").stdout)["unsettled_calls"] == 0


def check(state: Path) -> dict[str, Any]:
    done = usage(state, "--check", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (0 if told["agree"] else 1)
    return told


def test_the_books_are_what_the_journals_say(state: Path) -> None:
    told = check(state)
    assert (told["agree"], told["calls"], told["orphans"], told["unsettled"]) == (True, 5, 1, 0)
    assert told["journal_nusd"] == told["ledger_nusd"] == 1_000_000_013
    assert "agree: 5 calls, 1.000000013 USD" in usage(state, "--check").stdout


def test_what_is_not_settled_yet_is_no_difference(state: Path) -> None:
    write(state, [{}], place="sin")
    told = check(state)
    assert (told["agree"], told["calls"], told["unsettled"]) == (True, 5, 1)


def changed(sql: str) -> Callable[[Path], None]:
    def change(state: Path) -> None:
        with sqlite3.connect(state / "ledger.db") as db:
            db.execute(sql)
        db.close()

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (changed("UPDATE infercast_entries SET cost_nusd = cost_nusd + 1 WHERE number = 'fra-7-aa-2' AND part = 1"),
         "fra-7-aa-2, part 1: cost_nusd is 3 in the journal, 4 in the ledger"),
        (changed("DELETE FROM infercast_entries WHERE number = 'fra-7-aa-3'"),
         "fra-7-aa-3: 0 nano-USD in the journal, not in the ledger"),
        (changed("INSERT INTO infercast_entries SELECT 'fra-7-aa-99', part, at_s, day, tenant, model, entry, site, deployment, "
                 "outcome, state, 0, 0, 0, 0, 0 FROM infercast_entries WHERE number = 'fra-7-aa-5'"),
         "fra-7-aa-99: 0 nano-USD in the ledger, in no journal here"),
        (changed("UPDATE infercast_spent SET cost_nusd = 1 WHERE model = 'digits' AND period = '2026-11'"),
         "bank, digits, 2026-11: 1 nano-USD are used, entries have 7"),
        (changed("DELETE FROM infercast_spent WHERE model = '' AND period = '2026-11-26'"),
         "bank, all models, 2026-11-26: 0 nano-USD are used, entries have 5"),
    ],
)  # fmt: skip
def test_the_least_difference_is_found(state: Path, change: Callable[[Path], None], said: str) -> None:
    change(state)
    told = check(state)
    assert said in told["differences"]
    assert not told["agree"]
    assert f"✗ {said}" in usage(state, "--check").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "tenat"], "did you mean 'tenant'?"),
        (["--since", "soon"], "--since: 'soon' is no time"),
        (["--until", "x"], "--until: 'x' is no time"),
        (["--json", "--csv"], "--json --csv: are two forms at once"),
        (["--csv", "--output", "/no/such/folder/out.csv"], "cannot be written"),
        (["--ledger", "mysql://h/d"], "no ledger is kept in 'mysql'"),
        (["--ledger", "sqlite:////no/such/ledger.db"], "no ledger is here"),
    ],
)
def test_what_cannot_be_shown_is_said_in_one_message(state: Path, words: list[str], said: str) -> None:
    done = usage(state, *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert done.stderr.count("✗") == 1


def test_a_folder_without_a_ledger_says_so_and_gets_none(tmp_path: Path) -> None:
    done = usage(tmp_path)
    assert (done.exit_code, list(tmp_path.iterdir())) == (2, [])
    assert "no ledger is here (`infercast up` makes one)" in done.stderr


def test_the_ledger_of_the_last_run_is_found(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    note(other, ledger_url(state))
    assert "1.000000013" in usage(other, "--by", "").stdout
    assert usage(other, INFERCAST_LEDGER="sqlite:////nowhere.db").exit_code == 2


@given(st.integers(-(10**18), 10**18))
def test_money_is_said_exactly(value_nusd: int) -> None:
    assert nusd(usd_text(value_nusd)) == value_nusd  # type: ignore[arg-type]
