"""The protocol over HTTP beyond one plain call: versions, readiness, compressed bodies, what is Triton's own."""

import asyncio
import gzip
import zlib
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.policies import kernel
from infercast.policies.model import Rule
from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.codings import PACKED_BYTES_MIN, STEP_BYTES, Unpacking, accepted, packed
from infercast.router.ingress.http import BODY_BYTES_MAX
from infercast.router.runtime.host import Host
from tests.router.digits import VARIANTS, deployment_of, infer_body, read_answer
from tests.router.fakes import Door, Exchange, door, example_fleet, without_deadline
from tests.router.test_rpc import HostRunner

MODEL = "/v2/models/digits"


def real_door() -> Door:
    """An entry with the digits behind it, for the studio, whose calls may take what they want."""
    at = door(engine=without_deadline())
    at.scene.caller.attempts.runner = HostRunner(Host(example_fleet(), [deployment_of(name) for name in VARIANTS]))
    return at


def infer(at: Door, path: str = f"{MODEL}/infer", rows: int = 40, **headers: str) -> Exchange:
    """One infer call with binary tensors; `coding` packs its body."""
    body, header_bytes = infer_body(np.zeros((rows, 64), np.float32))
    packs: dict[str, Any] = {"gzip": gzip.compress, "deflate": zlib.compress}
    pack = packs.get(headers.get("content_encoding", ""), bytes)
    told = {"inference_header_content_length": str(header_bytes), "infercast_class": "gameplay", **headers}
    return at.say("POST", path, pack(body), **told)


@pytest.mark.parametrize("version", VARIANTS)
def test_a_version_by_name_is_the_one_that_runs(version: str) -> None:
    at = real_door()
    found = infer(at, f"{MODEL}/versions/{version}/infer")
    assert (found.status, found.headers["infercast-variant"]) == (200, version)
    assert at.say("GET", f"{MODEL}/versions/{version}").value["versions"] == [version]
    assert at.say("GET", f"{MODEL}/versions/{version}/ready").value == {"name": "digits", "ready": True}


@pytest.mark.parametrize(("method", "action"), [("GET", ""), ("GET", "/ready"), ("POST", "/infer")])
@pytest.mark.parametrize("version", ["digits-smal", "squeezenet", "1"])
def test_a_version_that_is_not_there_is_told_the_nearest(method: str, action: str, version: str) -> None:
    found = door().say(method, f"{MODEL}/versions/{version}{action}", b"{}", infercast_class="gameplay")
    assert (found.status, found.receives) == (404, 0)
    assert found.error.startswith(f"no version is called {version!r}")
    assert "digits-small" in found.error


def test_a_version_by_name_lifts_no_veto() -> None:
    """digits-small lies below the annotator's floor of accuracy: asked for by name it is refused, and nothing else runs."""
    found = door().say("POST", f"{MODEL}/versions/digits-small/infer", b"{}", "annotator", infercast_class="images")
    assert (found.status, found.receives) == (403, 0)
    assert Rule.ACCURACY.word in found.value["infercast"]["reasons"]
    assert Rule.VERSION.word in found.value["infercast"]["reasons"]


def test_a_call_that_lost_its_version_at_one_site_tries_it_at_the_next() -> None:
    at = door("lost", "lost", engine=without_deadline())
    found = at.say("POST", f"{MODEL}/versions/digits-small/infer", b"{}", infercast_class="gameplay")
    assert found.status == 200
    assert len(at.scene.runner.tried) == 3
    assert {name.split("@")[0] for name in at.scene.runner.tried} == {"digits-small"}


def test_what_nothing_can_run_is_not_ready() -> None:
    at = door()
    live = at.scene.snapshot.live
    for index, deployment in enumerate(example_fleet().deployments):
        if deployment.variant == "digits-small":
            live[index, kernel.L_HEALTHY] = 0
    down = at.say("GET", f"{MODEL}/versions/digits-small/ready")
    assert (down.status, down.headers["infercast-outcome"]) == (503, "unavailable")
    assert at.say("GET", f"{MODEL}/ready").status == 200
    live[:, kernel.L_HEALTHY] = 0
    assert at.say("GET", f"{MODEL}/ready").status == 503
    assert at.say("GET", "/v2/health/ready", key=None).status == 503
    alive = at.say("GET", "/v2/health/live", key=None)
    assert (alive.status, alive.value["ready"]) == (200, False)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{MODEL}/config"),
        ("GET", f"{MODEL}/versions/digits-small/stats"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/digits/load"),
        ("POST", "/v2/cudasharedmemory/region/r/register"),
    ],
)
def test_what_is_tritons_own_is_said_to_be(method: str, path: str) -> None:
    found = door().say(method, path, b"{}")
    assert (found.status, found.receives) == (404, 0)
    assert found.error.startswith(f"{method} {path} is Triton's own, and not served here (")


@pytest.mark.parametrize("sent", [None, "gzip", "deflate"])
@pytest.mark.parametrize("asked", [None, "gzip", "deflate"])
def test_bodies_go_both_ways_compressed(sent: str | None, asked: str | None) -> None:
    said = {"content_encoding": sent, "accept_encoding": asked}
    headers: dict[str, Any] = {name: coding for name, coding in said.items() if coding}
    found = infer(real_door(), **headers)
    assert (found.status, found.headers.get("content-encoding")) == (200, asked)
    unpack: Any = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[asked]
    assert found.headers["content-length"] == str(len(found.body))
    body = unpack(found.body)
    labels = read_answer(body, int(found.headers["inference-header-content-length"]), "label")
    assert labels.shape == (40,)


def test_what_was_received_is_counted_as_it_came_and_placed_as_it_is() -> None:
    at = real_door()
    assert infer(at, content_encoding="gzip").status == 200
    received, call = at.scene.journal.only("received"), at.scene.journal.only("call")
    assert received["payload_bytes"] < 1000
    assert call["received_bytes"] > 40 * 256


BAD: dict[str, tuple[str, bytes, int, str]] = {
    "an unknown coding": ("br", b"x", 400, "content-encoding is 'br' (send gzip, deflate, or the body as it is)"),
    "two codings": ("gzip, gzip", b"x", 400, "content-encoding is 'gzip, gzip'"),
    "not what it says": ("gzip", b"{}", 400, "the gzip body is broken"),
    "cut short": ("gzip", gzip.compress(b"{}" * 99)[:-4], 400, "the gzip body ends early"),
    "empty": ("deflate", b"", 400, "the deflate body ends early"),
    "something behind it": ("gzip", gzip.compress(b"{}") + b"more", 400, "has 4 bytes after its end"),
    "a bomb": (
        "gzip",
        gzip.compress(bytes(BODY_BYTES_MAX + 1)),
        413,
        f"over {BODY_BYTES_MAX} bytes when it is unpacked",
    ),
}


@pytest.mark.parametrize(("coding", "body", "status", "said"), BAD.values(), ids=BAD)
def test_a_compressed_body_that_is_none_is_refused(coding: str, body: bytes, status: int, said: str) -> None:
    at = door(engine=without_deadline())
    found = at.say("POST", f"{MODEL}/infer", body, infercast_class="gameplay", content_encoding=coding)
    assert found.status == status
    assert said in found.error


def test_a_bomb_is_given_up_before_it_is_unpacked() -> None:
    """What is held is bounded by the limit, not by what the body would hold; others have their turn in between."""
    turns = 0

    async def unpack() -> int:
        nonlocal turns
        unpacking = Unpacking("gzip", 4 * STEP_BYTES)
        adding = asyncio.create_task(unpacking.add(gzip.compress(bytes(400 * STEP_BYTES))))
        while not adding.done():
            turns += 1
            await asyncio.sleep(0)
        with pytest.raises(Trouble) as caught:
            await adding
        assert caught.value.kind is Kind.TOO_LARGE
        return unpacking._size_bytes

    assert asyncio.run(unpack()) <= 5 * STEP_BYTES
    assert turns >= 4


@given(
    st.binary(max_size=3000), st.sampled_from(["gzip", "deflate"]), st.integers(1, 4), st.lists(st.integers(0, 4000))
)
def test_what_was_packed_is_unpacked_however_it_is_cut(text: bytes, coding: str, times: int, cuts: list[int]) -> None:
    async def both() -> bytes:
        body, used = await packed(text * times, coding)
        if used is None:
            assert len(text * times) < PACKED_BYTES_MIN
            return body
        unpacking, edges = Unpacking(used, len(text * times)), sorted({0, *cuts, len(body)})
        for start, end in pairwise(edges):
            await unpacking.add(body[start:end])
        return unpacking.whole()

    assert asyncio.run(both()) == text * times


@pytest.mark.parametrize(
    ("header", "coding"),
    [
        (None, None),
        ("", None),
        ("gzip", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("deflate;q=0.1, gzip", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=soon", None),
        ("br, identity", None),
        ("GZIP ; q=1", "gzip"),
    ],
)
def test_an_answer_is_packed_as_it_is_asked_for(header: str | None, coding: str | None) -> None:
    assert accepted(header) == coding
