"""Upstreams over TLS: believed by their authority only, in HTTP/1.1 and, where both sides speak it, in HTTP/2."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest

from infercast.policies.fleet import Fleet
from infercast.router.api import Usage
from infercast.router.conduct.ports import Lost
from infercast.router.upstream.runner import Upstreams
from tests.router.certificates import Made, made
from tests.router.test_upstream_runner import HERE, SAID, call_of, chunk, index_of, recording
from tests.router.upstreams import answer, as_json, run_async, scripted, upstream_fleet

AUTHORITY = made("authority", authority=True)
Seen = list[str]


def fleet_at(port: int, folder: Path, authority: Made = AUTHORITY, **more: Any) -> Fleet:
    """An upstream that is believed by an authority."""
    files = authority.write(folder, "authority")
    fleet = upstream_fleet(f"https://127.0.0.1:{port}/v1", ca_file="authority.crt", **more)
    return fleet.model_copy(update={"files": {"far.ca_file": str(files.certificate)}})


def over_tls(
    folder: Path, protocols: list[str], script: Callable[[ssl.SSLSocket], None]
) -> Callable[[socket.socket], None]:
    """A script behind TLS, with a certificate of the authority's."""
    files = made("server", signer=AUTHORITY).write(folder, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    context.set_alpn_protocols(protocols)

    def wrapped(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            script(secured)

    return wrapped


def http2(seen: Seen, answers: list[bytes], kind: bytes) -> Callable[[ssl.SSLSocket], None]:
    """A script that speaks HTTP/2, and answers each stream in the same parts."""

    def script(connection: ssl.SSLSocket) -> None:
        state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        state.initiate_connection()
        connection.sendall(state.data_to_send())
        while text := connection.recv(65536):
            for event in state.receive_data(text):
                if isinstance(event, h2.events.RequestReceived):
                    seen.append(dict(event.headers)[b":path"].decode())
                elif isinstance(event, h2.events.StreamEnded):
                    state.send_headers(event.stream_id, [(b":status", b"200"), (b"content-type", kind)])
                    for part in answers:
                        state.send_data(event.stream_id, part)
                    state.end_stream(event.stream_id)
            connection.sendall(state.data_to_send())

    return script


def ran(fleet: Fleet, *, stream: bool = False) -> list[Any]:
    """What two calls, one after the other, bring."""

    async def work() -> list[Any]:
        upstreams, found = Upstreams(fleet, HERE), []
        try:
            for _ in range(2):
                came = await upstreams.run(index_of(fleet, "llama"), call_of(stream=stream), 5.0)
                found.append([e async for e in came.stream] if came.stream is not None else (came.body, came.usage))
        finally:
            await upstreams.aclose()
        return found

    found: list[Any] = run_async(work())
    return found


def test_an_upstream_over_tls_is_called_where_its_authority_is_believed(tmp_path: Path) -> None:
    seen: list[bytes] = []
    text = recording(answer(as_json(SAID)), seen)
    with scripted(over_tls(tmp_path, ["http/1.1"], text)) as port:
        assert ran(fleet_at(port, tmp_path)) == [(as_json(SAID), Usage(3, 2))] * 2
        with pytest.raises(Lost):
            ran(fleet_at(port, tmp_path / "other", made("another", authority=True)))
    assert len(seen) == 2


def test_http2_is_spoken_where_it_is_offered(tmp_path: Path) -> None:
    seen: Seen = []
    script = over_tls(tmp_path, ["h2", "http/1.1"], http2(seen, [as_json(SAID)], b"application/json"))
    with scripted(script) as port:
        assert ran(fleet_at(port, tmp_path, http2=True)) == [(as_json(SAID), Usage(3, 2))] * 2
    assert seen == ["/v1/chat/completions"] * 2


def test_http2_does_not_go_to_a_private_address_unasked(tmp_path: Path) -> None:
    seen: Seen = []
    script = over_tls(tmp_path, ["h2"], http2(seen, [as_json(SAID)], b"application/json"))
    with scripted(script) as port, pytest.raises(Lost, match="private address"):
        ran(fleet_at(port, tmp_path, http2=True, private=False))
    assert seen == []


def test_events_come_by_http2_as_well(tmp_path: Path) -> None:
    seen: Seen = []
    parts = [chunk("h"), chunk("i"), chunk(finish="stop")]
    framed = [b"data: " + part + b"\n\n" for part in (*parts, b"[DONE]")]
    with scripted(over_tls(tmp_path, ["h2"], http2(seen, framed, b"text/event-stream"))) as port:
        assert ran(fleet_at(port, tmp_path, http2=True), stream=True) == [parts, parts]
    assert len(seen) == 2


def test_http1_is_spoken_where_http2_is_not_offered(tmp_path: Path) -> None:
    seen: list[bytes] = []
    text = recording(answer(as_json(SAID)), seen)
    with scripted(over_tls(tmp_path, ["http/1.1"], text)) as port:
        assert ran(fleet_at(port, tmp_path, http2=True)) == [(as_json(SAID), Usage(3, 2))] * 2
    assert seen[0].startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
