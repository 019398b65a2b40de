"""Several calls in one run: each gets what it would have got alone, and a bad one harms no other."""

import asyncio
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.router.api import Asking
from infercast.router.errors import Kind, Trouble
from infercast.router.oip import Infer
from infercast.router.runtime.batch import Raw, run_batch
from infercast.router.runtime.host import Answer, Host
from infercast.router.runtime.session import Session
from tests.router.digits import deployment_of, held_out, infer_body, read_answer
from tests.router.fakes import example_fleet


def session() -> Session:
    fleet = example_fleet()
    return Session(fleet.cards["digits-medium"], fleet.artefacts["digits-medium"])


def labels_of(came: list[tuple[Infer, Any] | Trouble]) -> list[Any]:
    """The labels of each answer; the trouble's kind where there is none."""
    return [one.kind if isinstance(one, Trouble) else one[1]["label"].tolist() for one in came]


BAD: list[Raw] = [(b"", None), infer_body(np.zeros((2, 63), np.float32)), infer_body(held_out()[0][:1], ("mood",))]


@settings(max_examples=30)
@given(st.lists(st.integers(1, 5) | st.sampled_from(BAD), min_size=1, max_size=6))
def test_each_call_gets_its_own(parts: list[int | Raw]) -> None:
    images, _ = held_out()
    at, calls, wanted = 0, [], []
    whole = session()
    for part in parts:
        if isinstance(part, int):
            some = images[at : at + part]
            calls.append(infer_body(some, ("label",)))
            wanted.append(whole.run({"image": some})["label"].tolist())
            at += part
        else:
            calls.append(part)
            wanted.append(Kind.BAD_REQUEST)
    assert labels_of(run_batch(whole, calls)) == wanted


def test_each_call_gets_the_outputs_that_it_asked_for() -> None:
    image = held_out()[0][:1]
    calls = [infer_body(image), infer_body(image, ("label",)), infer_body(image, ("label", "probabilities"))]
    came = run_batch(session(), calls)
    names = [list(one[1]) for one in came if not isinstance(one, Trouble)]
    assert names == [["probabilities", "label"], ["label"], ["label", "probabilities"]]


def test_nothing_runs_where_all_are_bad() -> None:
    assert labels_of(run_batch(session(), BAD)) == [Kind.BAD_REQUEST] * 3
    assert run_batch(session(), []) == []


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_host_answers_a_batch_as_it_answers_one(as_bytes: bool) -> None:
    images, _ = held_out()
    host = Host(example_fleet(), [deployment_of("digits-medium")])
    calls = [infer_body(images[n : n + 2], as_bytes=as_bytes) for n in range(3)]

    async def both() -> tuple[list[Answer | Trouble], list[Answer]]:
        together = await host.run_batch("digits-medium", "fra", [*calls, (b"", None)])
        return together, [await host.run("digits-medium", "fra", Asking(*call)) for call in calls]

    together, alone = asyncio.run(both())
    assert isinstance(together[3], Trouble)
    for one, other in zip(together[:3], alone, strict=True):
        assert isinstance(one, Answer)
        assert (one.variant, one.site, one.header_bytes) == (other.variant, other.site, other.header_bytes)
        for name in ("label", "probabilities"):
            np.testing.assert_allclose(
                read_answer(one.body, one.header_bytes, name),
                read_answer(other.body, other.header_bytes, name),
                atol=1e-5,
            )


def test_an_answer_of_a_batch_bears_its_own_id() -> None:
    image = held_out()[0][:1]
    host = Host(example_fleet(), [deployment_of("digits-medium")])
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 64], "data": image[0].tolist()}
    calls: list[Raw] = [(orjson.dumps({"id": name, "inputs": [tensor]}), None) for name in ("a", "b")]
    came = asyncio.run(host.run_batch("digits-medium", "fra", calls))
    assert [orjson.loads(one.body)["id"] for one in came if isinstance(one, Answer)] == ["a", "b"]
