"""The protocol as gRPC messages, against the messages of a client that others wrote."""

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import InferInput, InferRequestedOutput, InferResult, service_pb2
from tritonclient.grpc._utils import _get_inference_request

from infercast.router.errors import Kind, Trouble
from infercast.router.oip import Infer, parse_infer, render_infer
from infercast.router.rpc.bodies import CONTENTS, answer_of, asked_of
from infercast.router.rpc.compile import compiled
from infercast.router.rpc.messages import SERVICE, ModelInferRequest, message
from infercast.router.rpc.wire import FILE
from infercast.router.runtime.session import DTYPES, Array
from tests.router.test_oip_bodies import as_texts, values

Sent = dict[str, tuple[str, Array]]


def test_what_is_committed_is_what_the_file_says() -> None:
    assert base64.b64decode(FILE) == compiled(), "run `python -m infercast.router.rpc.compile`"


def fields_of(kind: Any) -> dict[str, tuple[int, int, str]]:
    """Number, type and inner message of each field."""
    return {
        field.name: (field.number, field.type, field.message_type.full_name if field.message_type else "")
        for field in kind.fields
    }


def test_names_and_numbers_are_those_of_the_protocol_as_its_client_has_them() -> None:
    theirs = service_pb2.DESCRIPTOR
    service = theirs.services_by_name["GRPCInferenceService"]
    assert service.full_name == SERVICE
    seen, waiting = set(), ["ModelStreamInferResponse"]
    for method in ("ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"):
        waiting += [f"{method}Request", f"{method}Response"]
    while waiting:
        name = waiting.pop()
        seen.add(name)
        ours = message(name).DESCRIPTOR
        known = theirs.pool.FindMessageTypeByName(f"inference.{name}")
        own = {field: facts for field, facts in fields_of(ours).items() if field != "properties"}  # Triton has none
        assert own.items() <= fields_of(known).items(), name
        inner = [field.message_type for field in ours.fields if field.message_type and field.name in own]
        waiting += [n for kind in inner if (n := kind.full_name.removeprefix("inference.")) not in seen]
    assert {"ModelInferRequest.InferInputTensor", "InferParameter", "InferTensorContents"} <= seen


@st.composite
def tensors(draw: st.DrawFn) -> Sent:
    """Named tensors of any datatype and shape."""
    found: Sent = {}
    for name in draw(st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=4, unique=True)):
        datatype = draw(st.sampled_from(sorted(DTYPES)))
        found[name] = (datatype, values(datatype, *draw(st.lists(st.integers(0, 4), max_size=3))))
    return found


@given(tensors(), st.text(max_size=9), st.sampled_from(["", "digits-small"]))
def test_what_the_client_sends_as_raw_bytes_is_what_arrives(sent: Sent, call_id: str, version: str) -> None:
    inputs = []
    for name, (datatype, value) in sent.items():
        inputs.append(InferInput(name, list(value.shape), datatype))
        inputs[-1].set_data_from_numpy(value)
    asked = _get_inference_request("digits", inputs, version, call_id, [InferRequestedOutput("y")], 0, False, False, 0, None, {"mine": 7})  # fmt: skip
    got = asked_of(asked.SerializeToString())
    assert (got.model, got.version) == ("digits", version)
    parsed = parse_infer(got.body, got.header_bytes)
    assert (parsed.id, parsed.outputs, parsed.binary) == (call_id, ("y",), frozenset({"y"}))
    assert list(parsed.inputs) == list(sent)
    for name, (datatype, value) in sent.items():
        assert parsed.inputs[name].dtype == DTYPES[datatype]
        np.testing.assert_array_equal(parsed.inputs[name], value)


@given(tensors())
def test_what_comes_as_repeated_fields_is_what_arrives(sent: Sent) -> None:
    request = ModelInferRequest(model_name="digits")
    typed = {name: (datatype, value) for name, (datatype, value) in sent.items() if datatype in CONTENTS}
    for name, (datatype, value) in typed.items():
        tensor = request.inputs.add(name=name, datatype=datatype, shape=value.shape)
        flat = value.ravel().tolist()
        getattr(tensor.contents, CONTENTS[datatype]).extend([x.encode() for x in flat] if datatype == "BYTES" else flat)
    if not typed:
        return
    got = asked_of(request.SerializeToString())
    parsed = parse_infer(got.body, got.header_bytes)
    for name, (datatype, value) in typed.items():
        assert parsed.inputs[name].dtype == DTYPES[datatype]
        np.testing.assert_array_equal(parsed.inputs[name], value)


@given(tensors(), st.text(max_size=9), st.booleans())
def test_what_is_answered_is_what_the_client_reads(sent: Sent, call_id: str, as_bytes: bool) -> None:
    outputs = {name: value for name, (_, value) in sent.items()}
    call = Infer(call_id, {}, (), None if as_bytes else frozenset())
    told = answer_of(*render_infer("digits", "digits-small", call, outputs), {"infercast-site": "fra"})
    read = InferResult(service_pb2.ModelInferResponse.FromString(told))
    response = read.get_response()
    assert (response.model_name, response.model_version, response.id) == ("digits", "digits-small", call_id)
    assert response.parameters["infercast-site"].string_param == "fra"
    for name, (datatype, value) in sent.items():
        got = read.as_numpy(name)
        assert got.shape == value.shape
        np.testing.assert_array_equal(as_texts(got) if datatype == "BYTES" else got, value)
        assert got.dtype == value.dtype


def request(**parts: Any) -> Any:
    """A request for one good tensor, with other parts."""
    made = ModelInferRequest(model_name="digits", **parts)
    if "inputs" not in parts:
        made.inputs.add(name="x", datatype="FP32", shape=[2]).contents.fp32_contents.extend([1, 2])
    return made


def tensor(datatype: str = "FP32", **contents: Any) -> dict[str, Any]:
    return {"name": "x", "datatype": datatype, "shape": [2], **({"contents": contents} if contents else {})}


BAD: dict[str, tuple[Any, str]] = {
    "no tensors": (request(inputs=[]), "inputs holds 0 tensors"),
    "too many": (request(inputs=[tensor(fp32_contents=[1, 2])] * 65), "inputs holds 65 tensors"),
    "both ways at once": (request(raw_input_contents=[b"12345678"]), "inputs have contents beside raw_input_contents"),
    "fewer raw tensors": (
        request(inputs=[tensor(), tensor()], raw_input_contents=[b"12345678"]),
        "raw_input_contents holds 1 tensors",
    ),
    "half floats as fields": (request(inputs=[tensor("FP16", fp32_contents=[1])]), "send it in raw_input_contents"),
    "an unknown datatype": (request(inputs=[tensor("FP8", fp32_contents=[1])]), "known: BOOL"),
    "another field": (request(inputs=[tensor("INT8", fp32_contents=[1])]), "INT8 goes in int_contents"),
    "too large a value": (request(inputs=[tensor("INT8", int_contents=[1, 300])]), "int_contents is not INT8"),
    "no value": (request(parameters={"mine": {}}), "parameters['mine'] has no value"),
}


@pytest.mark.parametrize(("asked", "said"), BAD.values(), ids=BAD)
def test_a_bad_message_is_told_which_field(asked: Any, said: str) -> None:
    with pytest.raises(Trouble) as caught:
        asked_of(asked.SerializeToString())
    assert caught.value.kind is Kind.BAD_REQUEST
    assert said in str(caught.value)


@given(st.binary(max_size=200), st.integers(0, 300))
def test_any_bytes_are_read_or_refused(noise: bytes, cut: int) -> None:
    whole = request(id="1", raw_input_contents=[]).SerializeToString()
    for data in (noise, whole[:cut] + noise, noise + whole):
        try:
            got = asked_of(data)
            parse_infer(got.body, got.header_bytes)
        except Trouble as trouble:
            assert trouble.kind is Kind.BAD_REQUEST  # noqa: PT017 - one of two good ends


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"model_name": "m", "outputs": [{}]}', b"\xff"])
def test_an_answer_that_is_none_is_not_handed_on(body: bytes) -> None:
    with pytest.raises(ValueError, match="no answer of the protocol"):
        answer_of(body, None)
