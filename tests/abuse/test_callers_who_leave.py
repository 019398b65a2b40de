"""Calls that are cancelled, at each of their stages, and readers who do not read: all of the work behind them ends."""

import time
from typing import Any

import pytest

from tests.abuse.scene import CHAT, COMPLETE, IMAGE, INFER, Entry, answer, as_json, hung_up, until_has


def ended(at: Entry, before: int) -> str:
    """How the call that came after `before` others ended."""
    until = time.monotonic() + 20
    while len(lines := at.journal.of("call")) == before and time.monotonic() < until:
        time.sleep(0.01)
    return str(lines[before]["reason"])


def test_leaving_in_mid_head(at: Entry) -> None:
    before = len(at.journal.lines)
    with at.connect() as wire:
        wire.sendall(at.head()[:-20])
    at.normal()
    assert [line["outcome"] for line in at.journal.lines[before:] if line["kind"] == "call"] == ["answered"] * 3


@pytest.mark.parametrize("path", [INFER, COMPLETE])
@pytest.mark.parametrize("sent", [0, 10])
def test_leaving_before_and_in_mid_body(at: Entry, path: str, sent: int) -> None:
    before = len(at.journal.of("call"))
    with at.connect() as wire:
        wire.sendall(at.head(path, content_length="1000", infercast_deadline_ms="20000") + b"x" * sent)
    assert ended(at, before) == "gone"


@pytest.mark.parametrize(("path", "asked"), [(COMPLETE, CHAT), (INFER, IMAGE)])
def test_leaving_in_mid_answer_ends_the_work(at: Entry, path: str, asked: dict[str, Any]) -> None:
    at.runner.pause_s = 60.0
    before = len(at.journal.of("call"))
    body = as_json(asked)
    with at.connect() as wire:
        wire.sendall(at.head(path, content_length=str(len(body)), infercast_deadline_ms="60000") + body)
        until = time.monotonic() + 10
        while not at.left()["in flight"] and time.monotonic() < until:
            time.sleep(0.01)
        assert at.left()["in flight"] == 1
    assert ended(at, before) == "cancelled"


@pytest.mark.parametrize("events", [1, 20])
def test_leaving_in_mid_stream_ends_the_work(at: Entry, events: int) -> None:
    at.runner.endless, at.runner.pace_s, at.runner.event_bytes = True, 0.01, 10
    before = len(at.journal.of("call"))
    body = as_json({**CHAT, "stream": True})
    with at.connect() as wire:
        wire.sendall(at.head(COMPLETE, content_length=str(len(body))) + body)
        assert until_has(wire, b"data: ", events).startswith(b"HTTP/1.1 200")
        assert at.runner.open_streams == 1
    assert ended(at, before) in ("cancelled", "gone")


def test_a_reader_who_never_reads_is_ended_and_nothing_piles_up(at: Entry) -> None:
    at.runner.endless, at.runner.events = True, 0
    before = len(at.journal.of("call"))
    body = as_json({**CHAT, "stream": True})
    with at.connect() as wire:
        wire.sendall(at.head(COMPLETE, content_length=str(len(body))) + body)
        assert ended(at, before) in ("cancelled", "gone")
        assert at.runner.events < 400, "what a caller does not read is not made"
        assert hung_up(wire)


def test_a_body_that_comes_too_slowly_is_refused_at_the_deadline(at: Entry) -> None:
    with at.connect() as wire:
        wire.sendall(at.head(content_length="1000", infercast_deadline_ms="300"))
        status, headers, _ = answer(wire)
    assert (status, headers["infercast-outcome"]) == (408, "slow")


@pytest.mark.parametrize("path", ["/fra/v1/decide"])
def test_a_small_body_that_comes_too_slowly_is_refused(at: Entry, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infercast.router.ingress.http.SMALL_BODY_S", 0.3)
    with at.connect() as wire:
        wire.sendall(at.head(path, content_length="1000") + b"{")
        status, headers, _ = answer(wire)
    assert (status, headers["infercast-outcome"]) == (408, "slow")


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /fra/v2 HTTP/1.1\r\nhost: x\r\nx-a: "])
def test_a_head_that_does_not_come_is_not_waited_for(at: Entry, sent: bytes) -> None:
    with at.connect() as wire:
        wire.sendall(sent)
        at.normal()
        assert hung_up(wire)


def test_a_second_head_that_does_not_come_is_not_waited_for(at: Entry) -> None:
    with at.connect() as wire:
        wire.sendall(at.head("/fra/v2/health/live", "GET"))
        assert answer(wire)[0] == 200
        wire.sendall(b"GET /fra/v2/hea")
        assert hung_up(wire)
