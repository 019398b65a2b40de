"""TLS towards others, against a real server that asks for certificates."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from infercast.policies.faults import BadInput
from infercast.router.upstream import trust
from infercast.router.upstream.tls import client_context, trusting
from infercast.router.upstream.trust import Trust
from tests.router.certificates import Made, made

WAIT_S = 20.0
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"


@contextmanager
def server(context: ssl.SSLContext) -> Iterator[str]:
    """A server that answers each call, and forgets those that fail their handshake. Gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(WAIT_S)
    done = threading.Event()

    def answer() -> None:
        while not done.is_set():
            plain, _ = listener.accept()
            plain.settimeout(WAIT_S)
            try:
                with context.wrap_socket(plain, server_side=True) as wrapped:
                    if wrapped.recv(65_536):
                        wrapped.sendall(ANSWER)
            except OSError:
                plain.close()

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        done.set()
        with socket.create_connection(listener.getsockname()):
            pass
        thread.join()
        listener.close()


def serving(folder: Path, pair: Made, asked_of: Path | None = None) -> ssl.SSLContext:
    files = pair.write(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.key)
    if asked_of is not None:
        context.load_verify_locations(asked_of)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def get(url: str, context: ssl.SSLContext) -> str:
    with httpx.Client(verify=context, timeout=WAIT_S) as client:
        return client.get(url).text


def test_only_the_named_authority_is_believed(tmp_path: Path) -> None:
    ours, theirs = made("ours", authority=True), made("theirs", authority=True)
    ca, other = ours.write(tmp_path, "ca").certificate, theirs.write(tmp_path, "other").certificate
    with server(serving(tmp_path, made(signer=ours))) as url:
        assert get(url, client_context(ca)) == "hi"
        for context in (client_context(), client_context(other)):
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                get(url, context)


def test_a_certificate_for_another_name_is_not_believed(tmp_path: Path) -> None:
    ours = made("ours", authority=True)
    ca = ours.write(tmp_path, "ca").certificate
    with server(serving(tmp_path, made(signer=ours, address="127.0.0.2"))) as url:
        with pytest.raises(httpx.ConnectError, match="IP address mismatch"):
            get(url, client_context(ca))
        assert get(url.replace("127.0.0.1", "localhost"), client_context(ca)) == "hi"


def test_a_certificate_is_shown_to_who_asks_for_one(tmp_path: Path) -> None:
    ours = made("ours", authority=True)
    ca = ours.write(tmp_path, "ca").certificate
    mine = made("mine", signer=ours).write(tmp_path, "mine")
    with server(serving(tmp_path, made(signer=ours), asked_of=ca)) as url:
        assert get(url, client_context(ca, mine.certificate, mine.key)) == "hi"
        with pytest.raises(httpx.TransportError):
            get(url, client_context(ca))


def test_nothing_older_than_tls_1_2_is_spoken(tmp_path: Path) -> None:
    pair = made()
    ca = pair.write(tmp_path, "ca").certificate
    old = serving(tmp_path, pair)
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with server(old) as url:
        for context in (client_context(ca), trusting(ca)):
            context.set_ciphers("DEFAULT@SECLEVEL=0")
            with pytest.raises(httpx.ConnectError):
                get(url, context)


def test_what_is_wrong_with_the_files_comes_at_once_and_shows_no_secret(tmp_path: Path) -> None:
    one = made().write(tmp_path, "one")
    locked = made().write(tmp_path, "locked", passphrase=b"hush")
    (tmp_path / "words").write_text("hush hush")
    with pytest.raises(BadInput) as refused:
        client_context(tmp_path / "words", tmp_path / "no.crt", tmp_path / "no.key")
    said = [str(fault) for fault in refused.value.faults]
    assert [text.removeprefix(f"{tmp_path}/").split(":")[0] for text in said] == ["no.crt", "no.key", "words"]
    assert "hush" not in str(refused.value)
    for certificate, key in ((one.certificate, locked.key), (locked.certificate, locked.key), (one.key, one.key)):
        with pytest.raises(BadInput, match="cannot be used with its key"):
            client_context(None, certificate, key)
    with pytest.raises(BadInput, match="a key without its certificate"):
        client_context(key=one.key)


def test_one_certificate_is_believed_for_itself_alone(tmp_path: Path) -> None:
    """Another of the same authority's is not, even where the authority stands in the same file."""
    ours = made("ours", authority=True)
    leaf, other = made("leaf", signer=ours), made("other", signer=ours)
    file = leaf.write(tmp_path / "known").certificate
    file.write_text(file.read_text() + ours.write(tmp_path, "ca").certificate.read_text())
    with server(serving(tmp_path / "one", leaf)) as url:
        assert get(url, trusting(file)) == "hi"
    with server(serving(tmp_path / "two", other)) as url, pytest.raises(httpx.ConnectError):
        get(url, trusting(file))


def test_what_one_certificate_is_renewed_to_is_believed_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "WATCH_S", 0.01)
    before, renewed = made("before"), made("renewed")
    believed = Trust(only=before.write(tmp_path / "shown").certificate)

    async def follow() -> None:
        following = asyncio.get_running_loop().create_task(believed.follow())
        renewed.write(tmp_path / "shown")
        seen = believed._seen
        async with asyncio.timeout(WAIT_S):
            while believed._seen == seen:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        following.cancel()

    with server(serving(tmp_path / "new", renewed)) as url:
        with pytest.raises(httpx.ConnectError):
            get(url, believed.context)
        asyncio.run(follow())
        assert get(url, believed.context) == "hi"
