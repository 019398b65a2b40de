"""Kept answers as callers' own clients see them, over real HTTP: OpenAI's with tiny models behind, and Triton's."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from tritonclient.http import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from infercast.router.cache.answers import AnswerCache
from infercast.router.cache.embedding import Embedding
from infercast.router.ingress.app import Ingress
from infercast.router.keys import Keys, issue
from infercast.router.runtime.host import Host
from tests.router.cache.scenes import at_entry, engine_with, policy_of
from tests.router.digits import VARIANTS, deployment_of, held_out
from tests.router.fakes import example_fleet
from tests.router.openai.tiny import Entry, entry, fleet, served
from tests.router.test_rpc import Entry as RpcEntry
from tests.router.test_rpc import HostRunner, image, zeros
from tests.router.test_rpc import at_entry as rpc_entry

PLAIN = {"infercast-class": "plain"}
SIMILAR = {"similar": {"model": "embedding", "min_similarity": 0.9}}


@pytest.fixture(scope="module")
def fra() -> Iterator[Entry]:
    engine = engine_with(policy_of(cache={**SIMILAR, "ttl_s": 3600}), fleet=fleet())
    with entry("fra", engine) as found:
        embedding = Embedding("fra", fleet(), found.caller.beside)
        found.caller.cache = AnswerCache(found.caller.deciding, embedding=embedding)
        yield found


def talk(client: openai.OpenAI, text: str, **more: Any) -> Any:
    said: Any = [{"role": "user", "content": text}]
    return client.chat.completions.with_raw_response.create(model="chat", messages=said, max_tokens=6, **more)


def test_a_chat_is_answered_again_and_the_client_sees_how(fra: Entry) -> None:
    with fra.client("t", default_headers=PLAIN) as client:
        first, again = (talk(client, "good morning, everybody") for _ in range(2))
        assert (first.headers["infercast-cache"], again.headers["infercast-cache"]) == ("miss", "hit")
        assert first.parse().choices[0].message.content == again.parse().choices[0].message.content
        assert "age" in again.headers
        anew = talk(client, "good morning, everybody", extra_headers={"cache-control": "no-store"})
        assert "infercast-cache" not in anew.headers


def test_who_wants_a_kept_answer_or_none_is_told_that_there_is_none(fra: Entry) -> None:
    with fra.client("t", default_headers=PLAIN) as client, pytest.raises(openai.InternalServerError) as caught:
        talk(client, "never said", extra_headers={"cache-control": "only-if-cached"})
    assert caught.value.status_code == 504
    assert caught.value.code == "not_kept"


def test_a_stream_comes_again_as_a_stream(fra: Entry) -> None:
    with fra.client("t", default_headers=PLAIN) as client:
        said: Any = [{"role": "user", "content": "tell me more"}]
        options: Any = {"include_usage": True}
        wishes: Any = {"model": "chat", "messages": said, "max_tokens": 9, "stream": True, "stream_options": options}
        before = len(fra.runner.ran)
        texts = [[event.model_dump() for event in client.chat.completions.create(**wishes)] for _ in range(2)]
        assert texts[0] == texts[1]
        assert len(texts[0]) >= 3
        assert sum(call.api == "chat" for call in fra.runner.ran[before:]) == 1


def test_a_question_that_differs_in_a_stop_is_similar_by_a_real_embedder_in_the_same_process(fra: Entry) -> None:
    """The tiny embedder has random weights: what its vectors say is little, yet two texts that differ in a dot are near."""
    with fra.client("t", default_headers=PLAIN) as client:
        talk(client, "which way is it to the station on the other side of the river")
        near = talk(client, "which way is it to the station on the other side of the river.")
    assert near.headers["infercast-cache"] == "similar"
    embedded = [line for line in fra.journal.of("call") if line["request"].endswith("~similar")]
    assert embedded
    assert all(line["deployment"] == "tiny-embed@fra" and line["cost_usd"] > 0 for line in embedded)


def test_embeddings_are_kept(fra: Entry) -> None:
    with fra.client("t", default_headers=PLAIN) as client:
        first, again = (
            client.embeddings.with_raw_response.create(model="embedding", input=["a text", "another"]) for _ in range(2)
        )
    assert again.headers["infercast-cache"] == "hit"
    assert first.parse().data[1].embedding == again.parse().data[1].embedding


@pytest.mark.parametrize("as_bytes", [True, False])
def test_tritons_client_gets_the_same_numbers_again_under_its_own_id(*, as_bytes: bool) -> None:
    at = at_entry()
    caller = at.scene.caller
    caller.attempts.runner = runner = HostRunner(Host(example_fleet(), [deployment_of(name) for name in VARIANTS]))
    key, secret = issue("t", "t", "paris")
    images = held_out()[0][:3].astype(np.float32)
    asked = InferInput("image", list(images.shape), "FP32")
    asked.set_data_from_numpy(images, binary_data=as_bytes)
    headers = {"authorization": f"Bearer {secret}", **PLAIN}
    with served(Ingress(caller, Keys([key]), at.scene.journal, list, emulated=False)) as url:
        client = InferenceServerClient(url.removeprefix("http://"))
        answers = [client.infer("digits", [asked], headers=headers, request_id=f"r{number}") for number in range(3)]
        client.close()
    assert len(runner.calls) == 1
    assert [answer.get_response()["id"] for answer in answers] == ["r0", "r1", "r2"]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.as_numpy("label"), answers[0].as_numpy("label"))
    assert [line["cached"] for line in at.scene.journal.of("call")] == [None, "exact", "exact"]


def test_over_grpc_it_is_the_same() -> None:
    async def body(entry: RpcEntry) -> None:
        caller = entry.door.scene.caller
        caller.cache = AnswerCache(caller.deciding)
        caller.install(engine_with(policy_of("studio", classes={"gameplay": {}})), None)
        found = []
        async with entry.client() as client:
            for number, control in enumerate(["", "", "no-store", "only-if-cached"]):
                said = {"cache_control": control} if control else {}
                headers = entry.told(infercast_class="gameplay", **said)
                answer = await client.infer("digits", [zeros()], request_id=f"r{number}", headers=headers)
                told = answer.get_response()
                assert told.id == f"r{number}"
                found.append(told.parameters["infercast-cache"].string_param)
            asked = image(np.ones((1, 64), np.float32))
            with pytest.raises(InferenceServerException) as caught:
                await client.infer("digits", [asked], headers=headers)
        assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"
        assert found == ["miss", "hit", "", "hit"]

    rpc_entry(body)
