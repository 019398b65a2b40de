"""The Open Inference Protocol over gRPC: tritonclient.grpc, unmodified, by Serve's own ingress to the sites."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnxruntime
import pytest
from tritonclient.grpc import InferenceServerClient, InferInput, service_pb2
from tritonclient.utils import InferenceServerException

from infercast.router.rpc.messages import SERVICE
from tests.cluster.live import ROOT, SERVED, Live, picture

INFER = f"/{SERVICE}/ModelInfer"
MANY_ROWS = 20_000


@contextmanager
def triton(live: Live) -> Iterator[InferenceServerClient]:
    """The client; each call names its site."""
    client = InferenceServerClient(f"127.0.0.1:{live.running.grpc_port}")
    try:
        yield client
    finally:
        client.close()


def tensor(value: Any, name: str = "image") -> InferInput:
    asked = InferInput(name, list(value.shape), "FP32")
    asked.set_data_from_numpy(value)
    return asked


def zeros(rows: int = 1) -> InferInput:
    return tensor(np.zeros((rows, 64), np.float32))


def patiently(client: InferenceServerClient, *what: Any, **more: Any) -> Any:
    """Infer; what ran out of time on this busy machine is repeated, as its answer says it may be."""
    for _ in range(4):
        try:
            return client.infer(*what, **more)
        except InferenceServerException as error:
            if error.status() not in ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED"):
                raise
    return client.infer(*what, **more)


@pytest.mark.parametrize("entry", SERVED)
def test_every_site_is_alive_and_says_what_it_serves(live: Live, entry: str) -> None:
    headers = {**live.headers("annotator"), "application": entry}
    with triton(live) as client:
        assert client.is_server_live(headers=headers)
        assert client.is_server_ready(headers=headers)
        assert client.get_server_metadata(headers=headers).name == "infercast"
        assert client.is_model_ready("digits", "digits-small", headers=headers)
        told = client.get_model_metadata("digits", headers=headers)
    assert list(told.versions) == ["digits-small", "digits-medium", "digits-large"]


def test_a_call_runs_where_the_policy_says_and_says_so(live: Live) -> None:
    artefact = live.fleet.artefacts["squeezenet"]
    session = onnxruntime.InferenceSession(artefact, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    output = live.fleet.cards["squeezenet"].outputs[0].name
    expected = session.run([output], {name: picture()})[0]
    headers = {**live.headers("studio", None, "replays"), "application": "iad", "infercast-id": "by-grpc"}
    with triton(live) as client:
        answer = patiently(client, "vision", [tensor(picture(), name)], headers=headers, request_id="mine")
    told = answer.get_response()
    np.testing.assert_allclose(answer.as_numpy(output), expected, rtol=1e-2, atol=1e-4)
    assert (told.id, told.model_version) == ("mine", "squeezenet")
    facts = {name: told.parameters[name].string_param for name in told.parameters}
    assert (facts["infercast-site"], facts["infercast-tier"], facts["infercast-id"]) == ("dub", "cloud", "by-grpc")
    line = live.journal("call", "by-grpc")[-1]
    assert (line["outcome"], line["entry"], line["model"]) == ("answered", "iad", "vision")
    assert line["decision"] == facts["infercast-decision"]


def test_a_version_by_name_runs_or_nothing_does(live: Live) -> None:
    """The annotator's policy has a floor of accuracy, which digits-small lies below: a name does not lift it."""
    headers = {**live.headers("annotator", None, "images"), "application": "fra"}
    with triton(live) as client:
        for version in ("digits-medium", "digits-large"):
            answer = patiently(client, "digits", [zeros()], version, headers=headers)
            assert answer.get_response().model_version == version
        with pytest.raises(InferenceServerException, match=r"accuracy.* version") as caught:
            client.infer("digits", [zeros()], "digits-small", headers=headers)
    assert caught.value.status() == "StatusCode.PERMISSION_DENIED"


def test_a_call_that_may_not_enter_is_refused_with_its_message_unread(live: Live) -> None:
    headers = {**live.headers("hospital", "paris", "personal"), "application": "iad", "infercast-id": "kept-out-grpc"}
    with triton(live) as client, pytest.raises(InferenceServerException) as caught:
        client.infer("digits", [zeros(MANY_ROWS)], headers=headers)
    assert caught.value.status() == "StatusCode.FAILED_PRECONDITION"
    assert "enter at fra, dub" in caught.value.message()
    assert [line["payload_bytes"] for line in live.journal("received", "kept-out-grpc")] == [0]
    (call,) = live.journal("call", "kept-out-grpc")
    assert (call["reason"], call["received_bytes"], call["attempts"]) == ("wrong_entry", 0, [])


def test_the_client_of_the_guide_infers(live: Live, tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "grpc.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "127.0.0.1:8001" in program
    (tmp_path / ".infercast").symlink_to(live.state)
    words = [sys.executable, "-c", program.replace("127.0.0.1:8001", f"127.0.0.1:{live.running.grpc_port}")]
    ran = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert ran.returncode == 0, ran.stderr
    assert re.fullmatch(r"digits-\w+ \[\d\]\n", ran.stdout)


WRONG = {
    "no key": ({"authorization": ""}, "UNAUTHENTICATED"),
    "no site": ({"application": "nowhere"}, "NOT_FOUND"),
    "an unknown class": ({"infercast-class": "image"}, "INVALID_ARGUMENT"),
    "a deadline that nothing meets": (
        {"infercast-deadline-ms": "0.01", "infercast-model": "digits"},
        "PERMISSION_DENIED",
    ),
}


@pytest.mark.parametrize(("header", "code"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_has_its_status(live: Live, header: dict[str, str], code: str) -> None:
    headers = {**live.headers("annotator", None, "images"), "application": "fra", **header}
    with triton(live) as client, pytest.raises(InferenceServerException) as caught:
        client.infer("digits", [zeros()], headers=headers)
    assert caught.value.status() == f"StatusCode.{code}"


def test_no_port_offers_grpc_a_way_round_the_policy(live: Live) -> None:
    """Biometric data may enter at no site, and nobody without a key: whichever port a call is sent to, and for whichever site."""
    request = service_pb2.ModelInferRequest(model_name="digits")
    request.inputs.add(name="image", datatype="FP32", shape=[1, 64])
    request.raw_input_contents.append(bytes(256))
    message, keys = (
        request.SerializeToString(),
        (live.headers("hospital", None, "biometric"), {"infercast-class": "open"}),
    )
    told = [{**site, **key} for site in ({}, *({"application": site} for site in SERVED)) for key in keys]
    channels = {port: grpc.insecure_channel(f"127.0.0.1:{port}") for port in live.listening()}
    waiting = [
        (port, channel.unary_unary(INFER).future(message, metadata=tuple(metadata.items()), timeout=20))
        for port, channel in channels.items()
        for metadata in told
    ]
    codes: dict[int, set[grpc.StatusCode]] = {}
    for port, future in waiting:
        codes.setdefault(port, set()).add(future.code())
    for channel in channels.values():
        channel.close()
    assert [port for port, found in codes.items() if grpc.StatusCode.OK in found] == []
    ours = {grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNAUTHENTICATED}
    judged = {port for port, found in codes.items() if ours <= found}
    assert live.running.grpc_port in judged
    assert len(judged) == 1 + len(SERVED), "by the sites themselves, and by nobody else"
