"""HAProxy before an entry: who is slow, silent or too large is ended, who is merely unhurried is not."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import orjson
import pytest

from infercast.router.serving.front import Limits, connections_max, raise_files
from tests.abuse.fronted import SHORT, Fronted, fronted
from tests.abuse.scene import CHAT, COMPLETE, IMAGE, INFER, SOON_S, Entry, answer, as_json, hung_up, until_has

CONNECTIONS = min(int(os.environ.get("INFERCAST_CONNECTIONS", "1000")), connections_max() - 100)
KEPT = 16
"""Connections to the entry that HAProxy keeps for calls to come."""
TAKES_NONE = "the site takes no calls now (the call may be repeated)"
STREAM = as_json({**CHAT, "stream": True})


@pytest.fixture(scope="module")
def front(served: Entry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    """HAProxy before the entry, with limits of one and two seconds."""
    raise_files()
    with fronted(tmp_path_factory.mktemp("front"), SHORT, served.port) as running:
        until = time.monotonic() + SOON_S
        while httpx.get(f"http://127.0.0.1:{running.port}/fra/v2/health/live").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.1)
        served.kept = KEPT
        yield running
    served.kept = 0


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /fra/v2/models/digits/infer HTTP/1.1\r\nhost: x\r\nx-a: "])
def test_a_head_that_does_not_come_is_not_waited_for(at: Entry, front: Fronted, sent: bytes) -> None:
    with front.connect() as wire:
        wire.sendall(sent)
        at.normal(front.port)
        assert hung_up(wire)


def test_a_head_that_trickles_is_not_waited_for(at: Entry, front: Fronted) -> None:
    with front.connect() as wire:
        wire.sendall(b"GET /fra/v2 HTTP/1.1\r\n")
        for _ in range(10 * SHORT.head_s):
            try:
                wire.sendall(b"x-more: x\r\n")
            except OSError:
                return
            time.sleep(0.2)
        assert hung_up(wire)


def test_a_connection_that_rests_between_calls_is_ended(at: Entry, front: Fronted) -> None:
    with front.connect() as wire:
        wire.sendall(at.head("/fra/v2/health/live", "GET"))
        assert answer(wire)[0] == 200
        assert hung_up(wire)


def test_a_body_that_stops_coming_is_not_waited_for(at: Entry, front: Fronted) -> None:
    with front.connect() as wire:
        wire.sendall(at.head(content_length="1000", infercast_deadline_ms="60000") + b"{")
        at.normal(front.port)
        assert answer(wire)[0] in (0, 400, 408)


def test_a_body_that_comes_slowly_but_steadily_is_taken(at: Entry, front: Fronted) -> None:
    body = as_json(IMAGE)
    with front.connect() as wire:
        wire.sendall(at.head(content_length=str(len(body)), infercast_deadline_ms="60000"))
        steps = 2 * SHORT.silence_s
        for step in range(steps):
            time.sleep(1)
            wire.sendall(body[len(body) * step // steps : len(body) * (step + 1) // steps])
        assert answer(wire)[0] == 200


def test_a_caller_may_wait_longer_for_an_answer_than_it_may_be_silent(at: Entry, front: Fronted) -> None:
    at.runner.pause_s = SHORT.silence_s + 2
    body = as_json(CHAT)
    with front.connect() as wire:
        wire.sendall(at.head(COMPLETE, content_length=str(len(body)), infercast_deadline_ms="60000") + body)
        assert answer(wire)[0] == 200


def test_a_caller_who_gives_a_call_more_time_than_a_site_may_be_silent_has_it(at: Entry, tmp_path: Path) -> None:
    at.runner.pause_s = 3.0
    with fronted(tmp_path, SHORT, at.port, RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S="1") as front:
        at.kept, kept = KEPT, at.kept
        try:
            until = time.monotonic() + SOON_S
            while httpx.get(f"http://127.0.0.1:{front.port}/fra/v2/health/live", timeout=SOON_S).status_code != 200:
                assert time.monotonic() < until
                time.sleep(0.1)
            where = f"http://127.0.0.1:{front.port}{COMPLETE}"
            found = [
                httpx.post(where, json=CHAT, headers={**at.bearer(), **more}, timeout=SOON_S).status_code
                for more in ({"infercast-deadline-ms": "20000"}, {"infercast-deadline-ms": "60000"})
            ]
        finally:
            at.kept = kept
    assert found == [504, 200]


def test_two_deadlines_in_one_call_are_no_reason_to_wait_for_a_silent_site(tmp_path: Path) -> None:
    more = {"infercast-deadline-ms": "30000, 999999999"}
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # its kernel takes calls, and nobody answers
        fronted(tmp_path, SHORT, silent.getsockname()[1], RAY_SERVE_HAPROXY_TIMEOUT_SERVER_S="1") as front,
    ):
        found = httpx.post(f"http://127.0.0.1:{front.port}{COMPLETE}", json=CHAT, headers=more, timeout=SOON_S)
    assert found.status_code == 504


def test_a_stream_may_pause_for_longer_than_a_caller_may_be_silent(at: Entry, front: Fronted) -> None:
    at.runner.endless, at.runner.pace_s, at.runner.event_bytes = True, SHORT.silence_s + 1, 10
    with front.connect() as wire:
        wire.sendall(at.head(COMPLETE, content_length=str(len(STREAM))) + STREAM)
        assert until_has(wire, b"data: ", 2).startswith(b"HTTP/1.1 200")


def test_a_reader_who_never_reads_is_ended_and_nothing_piles_up(at: Entry, front: Fronted) -> None:
    at.runner.endless, at.runner.events = True, 0
    with front.connect() as wire:
        wire.sendall(at.head(COMPLETE, content_length=str(len(STREAM))) + STREAM)
        until = time.monotonic() + SOON_S
        while not (at.runner.events and at.runner.open_streams == 0):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert at.runner.events < 800, "what a caller does not read is not made"


@pytest.mark.parametrize("path", [INFER, COMPLETE])
@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({f"x_{number}": "x" for number in range(SHORT.head_fields)}, 431),
        ({"x": "x" * SHORT.head_bytes}, 431),
        ({"x": "x" * 20_000}, 400),
    ],
)
def test_a_head_that_is_too_large_is_refused(
    at: Entry, front: Fronted, path: str, more: dict[str, str], status: int
) -> None:
    with front.connect() as wire:
        wire.sendall(at.head(path, **more))
        found, headers, body = answer(wire)
        assert found == status
        if status == 431:
            assert headers["content-type"] == "application/json"
            error = orjson.loads(body)["error"]
            said = error["message"] if path == COMPLETE else error
            assert said.startswith("at most")
    assert at.heads == [], "the entry hears nothing of it"


def test_a_path_that_is_too_long_is_refused(at: Entry, front: Fronted) -> None:
    with front.connect() as wire:
        wire.sendall(at.head("/fra/" + "x" * SHORT.path_bytes))
        assert answer(wire)[0] == 414
    assert at.heads == []


@pytest.mark.parametrize(
    "more",
    [
        {"x_request_timeout_seconds": "0.000001"},
        {"x_request_disconnect_disabled": "?1"},
        {"serve_multiplexed_model_id": "m\xe9"},
        {"x_session_id": "m\xe9"},
        {"x_request_id": "m\xe9"},
        {"upgrade": "websocket", "connection": "upgrade", "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ=="},
        {"upgrade": "h2c", "connection": "upgrade, http2-settings", "http2_settings": "AAMAAABkAAQAAP__"},
    ],
)
def test_what_serve_would_obey_or_stumble_over_does_not_reach_it(
    at: Entry, front: Fronted, more: dict[str, str]
) -> None:
    head = at.head("/fra/v2/health/live", "GET", **more).decode().encode("latin-1")
    with front.connect() as wire:
        wire.sendall(head)
        assert answer(wire)[0] == 200
    (scope,) = at.heads
    assert scope["type"] == "http"
    names = {name.decode() for name, _ in scope["headers"]}
    assert not names & {name.replace("_", "-") for name in more} - {"connection", "http2-settings", "sec-websocket-key"}


def test_a_callers_own_request_id_goes_through(at: Entry, front: Fronted) -> None:
    with front.connect() as wire:
        wire.sendall(at.head("/fra/v2/health/live", "GET", x_request_id="mine-1"))
        assert answer(wire)[0] == 200
    assert (b"x-request-id", b"mine-1") in at.heads[0]["headers"]


def test_many_idle_connections_shut_nobody_out_and_leave_nothing(at: Entry, front: Fronted) -> None:
    with ExitStack() as held:
        opened = [held.enter_context(front.connect()) for _ in range(CONNECTIONS)]
        for wire in opened[::2]:
            wire.sendall(b"POST /fra/v2/models/digits/infer HTTP/1.1\r\nhost: x\r\nx-slow: ")
        for _ in range(5):
            at.normal(front.port, texts=False)
        assert all(hung_up(wire) for wire in opened)
    assert front.process.num_fds() < 200


def test_where_all_places_are_taken_silent_connections_make_room(at: Entry, tmp_path: Path, served: Entry) -> None:
    places = 20
    with fronted(tmp_path, SHORT, served.port, RAY_SERVE_HAPROXY_MAXCONN=str(places)) as small, ExitStack() as held:
        for _ in range(3 * places):
            held.enter_context(small.connect())
        at.normal(small.port)
        assert at.journal.of("call")[-1]["outcome"] == "answered"


def test_a_site_that_is_gone_is_said_to_be(at: Entry, tmp_path: Path) -> None:
    with fronted(tmp_path) as front:
        until = time.monotonic() + SOON_S
        while (found := httpx.get(f"http://127.0.0.1:{front.port}/fra/v2")).status_code != 503:
            assert time.monotonic() < until, found.text
        openai = httpx.post(f"http://127.0.0.1:{front.port}{COMPLETE}", json=CHAT)
    assert found.json() == {"error": TAKES_NONE, "infercast": {"kind": "unavailable"}}
    assert openai.json()["error"]["message"] == TAKES_NONE
    assert openai.json()["error"]["code"] == openai.json()["error"]["infercast"]["kind"] == "unavailable"
    for one in (found, openai):
        assert (one.status_code, one.headers["retry-after"], one.headers["content-type"]) == (
            503,
            "5",
            "application/json",
        )


def test_the_limits_in_force_are_no_shorter_than_these() -> None:
    whole, short = Limits(), SHORT
    assert (whole.head_s, whole.silence_s, whole.idle_s) == (10, 30, 60)
    assert (whole.head_fields, whole.head_bytes) == (short.head_fields, short.head_bytes)
