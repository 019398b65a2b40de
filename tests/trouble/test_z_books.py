"""The books under trouble: whichever process is killed, every call that ended is in the ledger once, to the nano-dollar.

These tests come last: each check is of all calls since the system was started, whatever befell it in the tests before.
"""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import Any

import httpx
from typer.testing import CliRunner

from infercast import system
from infercast.cli import app
from infercast.first_keys import ADMIN
from tests.trouble.rig import Rig, _titled, until

BOARD = "ray::Board"


def usage(rig: Rig, *words: str) -> dict[str, Any]:
    """What `infercast usage --json` says of the running system."""
    done = CliRunner().invoke(app, ["usage", "--json", "--state", str(rig.state), *words])
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def settled(rig: Rig) -> dict[str, Any]:
    """What the check of the books says, once all that stands in the journals has been taken over."""

    def whole() -> dict[str, Any] | None:
        told = usage(rig, "--check")
        return told if told["unsettled"] == 0 else None

    told: dict[str, Any] = until(whole, "all calls are settled")
    return told


def booked(rig: Rig, request: str) -> list[dict[str, Any]]:
    """The entries of a call, by the id that its caller gave."""
    number = rig.ended(request)["number"]
    settled(rig)
    return [row for row in rows(rig) if row["number"] == number]


def rows(rig: Rig) -> list[dict[str, Any]]:
    """Every entry of the ledger."""
    with closing(sqlite3.connect(f"file:{rig.state}/ledger.db?mode=ro", uri=True)) as db:
        found = db.execute("SELECT number, part, deployment, outcome, cost_nusd FROM infercast_entries").fetchall()
    return [dict(zip(("number", "part", "deployment", "outcome", "cost_nusd"), row, strict=True)) for row in found]


def test_an_answer_is_booked_at_what_its_caller_was_told(rig: Rig) -> None:
    answer = rig.chat("calm", infercast_id="booked-1")
    assert answer.status_code == 200
    (entry,) = booked(rig, "booked-1")
    assert entry["deployment"] == "talker@north-text"
    assert entry["cost_nusd"] == round(float(answer.headers["infercast-cost-usd"]) * 1e9) > 0
    (line,) = usage(rig, "--by", "tenant", "--tenant", "calm")["usage"]
    assert line["calls"] == len(rig.lines(tenant="calm"))
    headers = {"authorization": f"Bearer {system.secret_of(rig.state, ADMIN)}"}
    asked = rig.client.post(
        f"{rig.url('fra')}/admin/v1/usage", json={"by": ["tenant"], "tenant": "calm"}, headers=headers
    )
    assert asked.json() == {"usage": [line]}


def test_what_a_worker_had_written_when_it_was_killed_is_booked(rig: Rig) -> None:
    for number in range(20):
        assert rig.infer("calm", entry="ams", infercast_id=f"killed-{number}").status_code == 200
    rig.kill("ams")
    told = settled(rig)
    assert told["agree"], told["differences"]
    assert all(booked(rig, f"killed-{number}") for number in (0, 19))


def test_books_go_on_without_the_board_and_once_it_is_back(rig: Rig) -> None:
    (board,) = (process for process in rig.processes() if _titled(process, BOARD))
    board.kill()
    answered = [rig.infer("calm", infercast_id=f"alone-{number}").status_code for number in range(20)]
    assert answered.count(200) > 0
    told = settled(rig)
    assert told["agree"], told["differences"]
    until(lambda: [process for process in rig.processes() if _titled(process, BOARD)], "the board is back")
    rig.well()
    assert rig.infer("calm", infercast_id="back").status_code == 200
    assert len(booked(rig, "back")) == 1
    assert settled(rig)["agree"]


def test_a_call_that_dies_with_its_worker_is_an_orphan_that_everybody_sees(rig: Rig) -> None:
    """Its money was set aside; nobody knows what it cost, so it is booked as such, and nothing stays reserved for ever."""

    def begun() -> dict[str, Any] | None:
        lines = (line for line in rig.lines("reserved", tenant="calm", place="ams") if line["number"] not in before)
        return next(lines, None)

    def orphan() -> dict[str, Any] | None:
        told = usage(rig, "--orphans", "--tenant", "calm")["orphans"]
        return next((row for row in told if row["number"] == began["number"]), None)

    with rig.policy("calm", limits={"budget_usd_per_day": 100.0}):
        before = {line["number"] for line in rig.lines("reserved")}
        with rig.north.told(does="hang"), rig.south.told(does="hang"), ThreadPoolExecutor() as threads:
            asked = threads.submit(rig.chat, "calm", entry="ams", infercast_id="orphan")
            began = until(begun, "the call has begun")
            rig.kill("ams")
            with suppress(httpx.HTTPError):
                assert asked.result(120).status_code >= 500
        row = until(orphan, "the orphan is seen")
    assert (row["entry"], row["reserved_nusd"]) == ("ams", began["reserved_nusd"])
    assert row["reserved_nusd"] > 0
    assert rig.lines(request="orphan") == []
    told = settled(rig)
    assert told["agree"], told["differences"]
