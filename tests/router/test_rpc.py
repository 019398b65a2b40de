"""gRPC at an entry: Serve's own gRPC server on loopback, a client of others, real models behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import pytest
from tritonclient.grpc import InferInput, InferRequestedOutput, service_pb2
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from infercast.policies import kernel
from infercast.router.conduct.open import UNLIMITED
from infercast.router.conduct.ports import Accounts, Carried
from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.http import BODY_BYTES_MAX
from infercast.router.ingress.rpc import Rpc
from infercast.router.ingress.rpc_status import CODE, DETAILS_MAX, said_of
from infercast.router.keys import Keys
from infercast.router.rpc.messages import SERVICE
from infercast.router.runtime.host import Answer, Host
from infercast.router.runtime.session import Session
from infercast.router.serving import settings
from infercast.router.serving.door import Site, Visitors
from tests.router.digits import VARIANTS, deployment_of, held_out
from tests.router.fakes import Door, door, example_fleet, without_deadline

INFER = f"/{SERVICE}/ModelInfer"
Metadata = dict[str, str]


@dataclass
class HostRunner:
    """Runs calls on the digits, all in this process."""

    host: Host
    calls: list[Carried] = field(default_factory=list)

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        self.calls.append(call)
        place = example_fleet().deployments[deployment]
        return await self.host.run(place.variant, place.site, call, timeout_s)


def as_serve(service_method: str, streaming_type: Any) -> Any:
    """What Serve's replica does with a call, as far as it shows: it calls the method, and sets a status of its own."""
    method = service_method.rsplit("/", 1)[-1]

    def settle(context: Any) -> None:
        context.set_trailing_metadata((("request_id", "serve's own"),))
        context.set_code(grpc.StatusCode.OK)

    async def once(messages: Any, context: Any) -> bytes:
        sent = await getattr(Visitors(), method)(messages)
        settle(context)
        return bytes(sent.SerializeToString())

    async def stream(messages: Any, context: Any) -> AsyncIterator[bytes]:
        async for sent in getattr(Visitors(), method)(messages):
            yield sent.SerializeToString()
        settle(context)

    return stream if streaming_type.name.endswith("STREAM") else once


@dataclass
class Entry:
    """A gRPC entry that listens, and what stands behind it."""

    address: str
    door: Door

    def told(self, key: str | None = "studio", **more: str) -> Metadata:
        """Metadata with a key; `_` stands for `-`."""
        known = {} if key is None else {"authorization": f"Bearer {self.door.secrets[key]}"}
        return {**known, **{name.replace("_", "-"): text for name, text in more.items()}}

    @asynccontextmanager
    async def client(self) -> AsyncIterator[InferenceServerClient]:
        client = InferenceServerClient(self.address)
        try:
            yield client
        finally:
            await client.close()


Body = Callable[[Entry], Coroutine[Any, Any, None]]


def at_entry(
    body: Body,
    *script: str,
    entry: str = "fra",
    real: bool = True,
    site: bool = True,
    tenants: bool = False,
    accounts: Accounts = UNLIMITED,
) -> Door:
    """Run something against a listening entry; with `real` models, else with a script.

    It is the studio's alone, whose calls may take what they want on a busy machine; with `tenants`, that of the examples.
    """
    from ray.serve._private import default_impl, grpc_util
    from ray.serve.config import gRPCOptions

    at = door(*script, entry=entry, engine=None if tenants else without_deadline(), accounts=accounts)
    if real:
        at.scene.caller.attempts.runner = HostRunner(Host(example_fleet(), [deployment_of(name) for name in VARIANTS]))
    ports: list[int] = []
    patch = pytest.MonkeyPatch()
    patch.setattr(Site, "rpc", Rpc(at.ingress.desk) if site else None)
    limits = [(name, settings.GRPC_MESSAGE_BYTES_MAX) for name, _ in grpc_util.DEFAULT_GRPC_SERVER_OPTIONS]
    patch.setattr(grpc_util, "DEFAULT_GRPC_SERVER_OPTIONS", limits)
    patch.setattr(
        default_impl, "add_grpc_address", lambda server, _: ports.append(server.add_insecure_port("127.0.0.1:0"))
    )

    async def run() -> None:
        options = gRPCOptions(port=1, grpc_servicer_functions=[settings.GRPC_DOOR], enable_reflection=False)
        loop = asyncio.get_running_loop()
        waiting, server = await grpc_util.start_grpc_server(as_serve, options, event_loop=loop)
        try:
            await body(Entry(f"127.0.0.1:{ports[0]}", at))
        finally:
            await server.stop(None)
            await waiting

    try:
        asyncio.run(run())
    finally:
        patch.undo()
    return at


def image(value: Any) -> InferInput:
    asked = InferInput("image", list(value.shape), "FP32")
    asked.set_data_from_numpy(value)
    return asked


def zeros() -> InferInput:
    return image(np.zeros((1, 64), np.float32))


async def refused(running: Coroutine[Any, Any, Any]) -> tuple[str, str]:
    """The status and the message of a call that is refused."""
    with pytest.raises(InferenceServerException) as caught:
        await running
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


async def until(there: Callable[[], Any]) -> None:
    """Wait for something that another task does."""
    while not there():  # noqa: ASYNC110 - fakes set no events
        await asyncio.sleep(0.01)


def test_held_out_images_are_read_as_the_model_itself_reads_them() -> None:
    images, _ = held_out()
    direct = {
        name: Session(example_fleet().cards[name], example_fleet().artefacts[name]).run({"image": images[:20]})
        for name in VARIANTS
    }

    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            for version in ("", *VARIANTS):
                answer = await client.infer(
                    "digits", [image(images[:20])], version, [InferRequestedOutput("label")], "mine",
                    headers=entry.told(infercast_class="gameplay", infercast_id="call-7"),
                )  # fmt: skip
                told = answer.get_response()
                assert told.model_version == version or not version
                assert (told.id, [output.name for output in told.outputs]) == ("mine", ["label"])
                assert told.parameters["infercast-variant"].string_param == told.model_version
                assert told.parameters["infercast-id"].string_param == "call-7"
                np.testing.assert_array_equal(answer.as_numpy("label"), direct[told.model_version]["label"])

    at = at_entry(body)
    lines = at.scene.journal.of("call")
    assert [(line["outcome"], line["model"]) for line in lines] == [("answered", "digits")] * 4
    assert [line["payload_bytes"] > 20 * 256 for line in at.scene.journal.of("received")] == [True] * 4


def test_metadata_and_health() -> None:
    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert (await client.get_server_metadata(as_json=True))["extensions"] == ["binary_tensor_data"]
            headers = entry.told()
            assert await client.is_model_ready("digits", headers=headers)
            assert await client.is_model_ready("digits", "digits-small", headers=headers)
            told = await client.get_model_metadata("digits", headers=headers)
            assert list(told.versions) == list(VARIANTS)
            assert (told.inputs[0].name, told.inputs[0].datatype, list(told.inputs[0].shape)) == (
                "image",
                "FP32",
                [-1, 64],
            )
            one = await client.get_model_metadata("digits", "digits-small", headers=headers)
            assert list(one.versions) == ["digits-small"]
            unknown = await refused(client.get_model_metadata("digits", "digits-smal", headers=headers))
            assert unknown == ("NOT_FOUND", "no version is called 'digits-smal' (did you mean 'digits-small'?)")
            others = await refused(client.get_model_metadata("vision", headers=entry.told("bank")))
            assert others == ("NOT_FOUND", "no model is called 'vision' (known: digits)")
            assert (await refused(client.get_model_metadata("digits")))[0] == "UNAUTHENTICATED"
            assert (await refused(client.get_model_config("digits", headers=headers)))[0] == "UNIMPLEMENTED"

    at_entry(body, tenants=True)


def test_a_model_that_nothing_can_run_is_not_ready() -> None:
    async def body(entry: Entry) -> None:
        scene = entry.door.scene
        for index, deployment in enumerate(example_fleet().deployments):
            if deployment.variant == "digits-small":
                scene.snapshot.live[index, kernel.L_HEALTHY] = 0
        async with entry.client() as client:
            headers = entry.told()
            assert not await client.is_model_ready("digits", "digits-small", headers=headers)
            assert await client.is_model_ready("digits", headers=headers)

    at_entry(body)


REFUSED: dict[str, tuple[Metadata, dict[str, Any], str, str]] = {
    "no key": ({"authorization": ""}, {}, "UNAUTHENTICATED", "no valid key (send `Authorization: Bearer KEY`)"),
    "an unknown class": ({"infercast-class": "gamepla"}, {}, "INVALID_ARGUMENT", "did you mean 'gameplay'?"),
    "a deadline in words": ({"infercast-deadline-ms": "soon"}, {}, "INVALID_ARGUMENT", "the deadline is 'soon' ms"),
    "a deadline that nothing meets": (
        {"infercast-deadline-ms": "0.001", "infercast-model": "digits"},
        {},
        "PERMISSION_DENIED",
        "candidates pass",
    ),
    "an unknown model": ({}, {"model_name": "digts"}, "NOT_FOUND", "did you mean 'digits'?"),
    "a name without end": ({}, {"model_name": "x" * 300}, "INVALID_ARGUMENT", "a name has 300 characters"),
    "an unknown version": ({}, {"model_version": "digits-smal"}, "NOT_FOUND", "no version is called 'digits-smal'"),
    "another model than the metadata say": ({"infercast-model": "vision"}, {}, "INVALID_ARGUMENT", "name one model"),
    "a model of nobody's in the metadata": ({"infercast-model": "digts"}, {}, "NOT_FOUND", "did you mean 'digits'?"),
    "a wrong shape": ({}, {"inputs": [image(np.zeros((1, 63), np.float32))]}, "INVALID_ARGUMENT", "has shape [1, 63]"),
    "no inputs": ({}, {"inputs": []}, "INVALID_ARGUMENT", "inputs holds 0 tensors"),
    "an unknown output": ({}, {"outputs": [InferRequestedOutput("x")]}, "INVALID_ARGUMENT", "no output is called 'x'"),
}


@pytest.mark.parametrize(("metadata", "parts", "code", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told_with_its_remedy(metadata: Metadata, parts: dict[str, Any], code: str, said: str) -> None:
    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            asked = {"model_name": "digits", "inputs": [zeros()], **parts}
            headers = {**entry.told(infercast_class="gameplay"), **metadata}
            found = await refused(client.infer(**asked, headers=headers))
            assert found[0] == code
            assert said in found[1]

    at = at_entry(body)
    lines = [line["outcome"] for line in at.scene.journal.of("call")]
    assert lines == ([] if code == "UNAUTHENTICATED" or "soon" in said else ["refused"])


def test_a_call_that_may_not_enter_is_refused_with_its_message_unsent() -> None:
    """Personal data of the hospital's may not enter in Virginia: the answer comes while the caller still waits to send."""

    async def body(entry: Entry) -> None:
        asked = asyncio.Event()

        async def never() -> AsyncIterator[bytes]:
            asked.set()
            await asyncio.Event().wait()
            yield b""

        metadata = tuple(entry.told("ward", infercast_class="personal", infercast_id="kept-out").items())
        async with grpc.aio.insecure_channel(entry.address) as channel:
            call = channel.stream_unary(INFER)(never(), metadata=metadata)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
        assert asked.is_set()
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "(enter at fra)" in (caught.value.details() or "")
        told = dict(caught.value.trailing_metadata())
        assert (told["infercast-outcome"], told["infercast-entries"]) == ("wrong_entry", "fra")

    at = at_entry(body, entry="iad", tenants=True)
    assert [line["payload_bytes"] for line in at.scene.journal.of("received")] == [0]
    assert at.scene.journal.only()["reason"] == "wrong_entry"


def test_a_refused_caller_that_sends_at_once_is_not_read() -> None:
    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            headers = entry.told("hospital", infercast_class="personal")
            found = await refused(client.infer("digits", [image(np.zeros((4000, 64), np.float32))], headers=headers))
            assert found[0] == "FAILED_PRECONDITION"

    at = at_entry(body, entry="iad", tenants=True)
    assert [line["payload_bytes"] for line in at.scene.journal.of("received")] == [0]


def test_grpcs_own_deadline_tightens_the_calls() -> None:
    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            told = entry.told(infercast_class="gameplay", infercast_deadline_ms="400000")
            await client.infer("digits", [zeros()], headers=told, client_timeout=300.0)
            await client.infer("digits", [zeros()], headers=told)
        runner = entry.door.scene.caller.attempts.runner
        assert isinstance(runner, HostRunner)
        first, second = (call.request.deadline_us for call in runner.calls)
        assert 200_000_000 < first <= 301_000_000  # gRPC sends long times in whole seconds
        assert second == 400_000_000

    at_entry(body)


def test_a_cancelled_call_is_cancelled_here_too() -> None:
    async def body(entry: Entry) -> None:
        at = entry.door.scene
        metadata = tuple(entry.told("annotator", infercast_class="images").items())
        asked = service_pb2.ModelInferRequest(model_name="digits")
        asked.inputs.add(name="image", datatype="FP32", shape=[1, 64])
        asked.raw_input_contents.append(bytes(256))
        async with grpc.aio.insecure_channel(entry.address) as channel:
            call = channel.unary_unary(INFER)(asked.SerializeToString(), metadata=metadata)
            await until(lambda: at.runner.calls)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await until(lambda: at.journal.of("call"))

    at = at_entry(body, "hang", real=False, tenants=True)
    line = at.scene.journal.only()
    assert (line["outcome"], line["reason"]) == ("failed", "cancelled")


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_messages_are_read(algorithm: str) -> None:
    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            headers = entry.told(infercast_class="gameplay")
            answer = await client.infer("digits", [zeros()], headers=headers, compression_algorithm=algorithm)
            assert answer.as_numpy("label").shape == (1,)

    at_entry(body)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
def test_a_message_past_the_limit_is_refused_also_where_it_was_small_on_the_way(compression: grpc.Compression) -> None:
    async def body(entry: Entry) -> None:
        metadata = tuple(entry.told(infercast_class="gameplay").items())
        async with grpc.aio.insecure_channel(entry.address, [("grpc.max_send_message_length", -1)]) as channel:
            for over in (512, 2 * 1024 * 1024):  # past ours, and past the transport's
                message = bytes(BODY_BYTES_MAX + over)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary(INFER)(message, metadata=metadata, compression=compression)
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    at_entry(body)


def test_a_stream_of_calls_is_answered_one_by_one() -> None:
    async def body(entry: Entry) -> None:
        headers = entry.told(infercast_class="gameplay")
        sizes = [1, 3, 0, 2]

        async def calls() -> AsyncIterator[dict[str, Any]]:
            for number, size in enumerate(sizes):
                yield {
                    "model_name": "digits",
                    "inputs": [image(np.zeros((size, 64), np.float32))],
                    "request_id": f"call {number}",
                }

        async with entry.client() as client:
            came = [pair async for pair in client.stream_infer(calls(), headers=headers)]
        assert [error is None for _, error in came] == [True, True, False, True]
        assert "has shape [0, 64]" in came[2][1].message()
        answers = [answer for answer, error in came if error is None]
        assert [answer.as_numpy("label").shape for answer in answers] == [(1,), (3,), (2,)]
        assert [answer.get_response().id for answer in answers] == ["call 0", "call 1", "call 3"]

    at = at_entry(body)
    assert [line["outcome"] for line in at.scene.journal.of("call")] == ["answered", "answered", "refused", "answered"]


def test_a_message_that_comes_after_its_key_was_revoked_is_nobodys() -> None:
    async def body(entry: Entry) -> None:
        revoked = asyncio.Event()

        async def late() -> AsyncIterator[bytes]:
            await revoked.wait()
            asked = service_pb2.ModelInferRequest(model_name="digits")
            yield asked.SerializeToString()

        metadata = tuple(entry.told(infercast_class="gameplay").items())
        async with grpc.aio.insecure_channel(entry.address) as channel:
            call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(late(), metadata=metadata)
            await asyncio.sleep(0.3)  # long enough for the entry to be waiting for the message
            entry.door.ingress.take_keys(Keys([]))
            revoked.set()
            assert [message async for message in _until_error(call)] == []
            assert await call.code() is grpc.StatusCode.UNAUTHENTICATED

    assert at_entry(body).scene.journal.of("call") == []


def test_a_stream_that_may_not_enter_is_not_read() -> None:
    async def body(entry: Entry) -> None:
        async def never() -> AsyncIterator[bytes]:
            await asyncio.Event().wait()
            yield b""

        metadata = tuple(entry.told("hospital", infercast_class="personal").items())
        async with grpc.aio.insecure_channel(entry.address) as channel:
            call = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")(never(), metadata=metadata)
            assert [message async for message in _until_error(call)] == []
            assert await call.code() is grpc.StatusCode.FAILED_PRECONDITION

    at = at_entry(body, entry="iad", tenants=True)
    assert at.scene.journal.only()["reason"] == "wrong_entry"
    assert [line["payload_bytes"] for line in at.scene.journal.of("received")] == [0]


async def _until_error(call: Any) -> AsyncIterator[bytes]:
    try:
        async for message in call:
            yield message
    except grpc.aio.AioRpcError:
        return


def test_a_replica_that_answers_nonsense_is_our_fault() -> None:
    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            found = await refused(
                client.infer("digits", [zeros()], headers=entry.told("annotator", infercast_class="images"))
            )
            assert found == ("INTERNAL", "this is our fault, and logged (repeat the call)")

    at_entry(body, real=False, tenants=True)


def test_where_no_site_stands_nothing_is_served() -> None:
    """The proxy on the head has no site: it would read a message before any site has decided on it."""

    async def body(entry: Entry) -> None:
        async with entry.client() as client:
            headers = entry.told(infercast_class="gameplay")
            assert (await refused(client.infer("digits", [zeros()], headers=headers)))[0] == "UNIMPLEMENTED"

    at_entry(body, site=False)


def test_every_kind_of_trouble_has_a_status() -> None:
    assert set(CODE) == set(Kind)
    assert grpc.StatusCode.OK not in CODE.values()


def test_facts_of_a_trouble_fit_into_metadata() -> None:
    said = said_of(Trouble(Kind.SATURATED, "é" * 5000, extra={"entries": ["fra", "dub"], "reasons": "é\n" * 2000}))
    told = dict(said.trailing)
    assert (told["infercast-entries"], told["grpc-retry-pushback-ms"]) == ("fra,dub", "1000")
    assert len(said.details) <= DETAILS_MAX
    assert all(text.isascii() and text.isprintable() and len(text) <= 500 for text in told.values())
