"""ModelInferRequest to the body that replicas read, and their answer to ModelInferResponse. Bytes in, bytes out; no I/O.

A call goes on its way as the REST body of the same protocol, JSON with binary tensors behind it: one shape for every
site and upstream, whichever door it came in by. `raw_input_contents` are that extension's blobs already, so they are
joined and not looked at; values that came as repeated fields become such blobs here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError, EncodeError

from ..oip import TENSORS_MAX, bad, bytes_of_strings
from ..runtime.session import DTYPES
from .messages import ModelInferRequest, ModelInferResponse

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""The repeated field that holds a datatype's values. FP16 and BF16 have none."""
ALL_BINARY = {"binary_data_output": True}
BINARY = {"binary_data": True}


@dataclass(frozen=True, slots=True)
class Asked:
    """An infer call as its message says it: for which model, and the body that goes on its way."""

    model: str
    version: str
    id: str
    body: bytes
    header_bytes: int


NAME_CHARS_MAX = 256
"""Of models, versions and ids: they stand in logs and answers."""


def asked_of(message: bytes) -> Asked:
    """Return the call in a serialised ModelInferRequest. Raises Trouble(BAD_REQUEST) that names the field."""
    try:
        request = ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise bad("the message is no inference.ModelInferRequest", "see router/rpc/inference.proto") from error
    for name in (request.model_name, request.model_version, request.id):
        if len(name) > NAME_CHARS_MAX:
            raise bad(f"a name has {len(name)} characters", f"at most {NAME_CHARS_MAX}")
    tensors = request.inputs
    if not 0 < len(tensors) <= TENSORS_MAX:
        raise bad(f"inputs holds {len(tensors)} tensors", f"send 1 to {TENSORS_MAX}")
    blobs = list(request.raw_input_contents)
    if not blobs:
        blobs = [_blob(tensor, f"inputs[{index}]") for index, tensor in enumerate(tensors)]
    elif len(blobs) != len(tensors):
        raise bad(f"raw_input_contents holds {len(blobs)} tensors", f"send one for each of the {len(tensors)} inputs")
    elif any(tensor.HasField("contents") for tensor in tensors):
        raise bad("inputs have contents beside raw_input_contents", "send one of the two")
    header = orjson.dumps(_header(request, blobs))
    return Asked(request.model_name, request.model_version, request.id, b"".join([header, *blobs]), len(header))


def _header(request: Any, blobs: Iterable[bytes]) -> dict[str, Any]:
    inputs = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            "parameters": {**parameters_of(tensor.parameters), "binary_data_size": len(blob)},
        }
        for tensor, blob in zip(request.inputs, blobs, strict=True)
    ]
    header: dict[str, Any] = {"inputs": inputs, "parameters": {**parameters_of(request.parameters), **ALL_BINARY}}
    if request.id:
        header["id"] = request.id
    if request.outputs:
        header["outputs"] = [
            {"name": output.name, "parameters": {**parameters_of(output.parameters), **BINARY}}
            for output in request.outputs
        ]
    return header


def parameters_of(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON has them."""
    return {name: _value(name, parameter) for name, parameter in parameters.items()}


def _value(name: str, parameter: Any) -> Any:
    chosen = parameter.WhichOneof("parameter_choice")
    if chosen is None:
        raise bad(f"parameters[{name!r}] has no value", "set one, or leave the parameter out")
    return getattr(parameter, chosen)


def _blob(tensor: Any, where: str) -> bytes:
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        remedy = "send it in raw_input_contents" if tensor.datatype in DTYPES else f"known: {', '.join(DTYPES)}"
        raise bad(f"{where}.datatype {tensor.datatype!r} has no contents of its own", remedy)
    others = [other.name for other, _ in tensor.contents.ListFields() if other.name != field]
    if others:
        raise bad(f"{where}.contents has {others[0]}", f"{tensor.datatype} goes in {field}")
    values = getattr(tensor.contents, field)
    if tensor.datatype == "BYTES":
        return bytes_of_strings(values)
    dtype = DTYPES[tensor.datatype]
    try:
        return np.array(values, dtype=dtype).tobytes()
    except OverflowError as error:
        raise bad(f"{where}.contents.{field} is not {tensor.datatype}: {error}", "send values that it holds") from error


def answer_of(body: bytes, header_bytes: int | None, facts: Mapping[str, str] | None = None) -> bytes:
    """Return a serialised ModelInferResponse of a replica's answer. `facts` become its parameters.

    Raises ValueError for a body that is none: a replica's or an upstream's fault, not the caller's.
    """
    try:
        response = _response(body, len(body) if header_bytes is None else header_bytes)
        for name, text in (facts or {}).items():
            response.parameters[name].string_param = text
        return bytes(response.SerializeToString())
    except (ValueError, KeyError, TypeError, AttributeError, EncodeError) as error:
        raise ValueError(f"this is no answer of the protocol: {type(error).__name__}: {error}") from error


def _response(body: bytes, size: int) -> Any:
    answer = orjson.loads(memoryview(body)[:size])
    version, call_id = answer.get("model_version", ""), answer.get("id", "")
    response = ModelInferResponse(model_name=answer["model_name"], model_version=version, id=call_id)
    at = size
    for output in answer["outputs"]:
        length = output.get("parameters", {}).get("binary_data_size")
        if length is None:
            blob = _packed(output["datatype"], output["data"])
        else:
            blob = body[at : at + length]
            at += length
        response.outputs.add(name=output["name"], datatype=output["datatype"], shape=output["shape"])
        response.raw_output_contents.append(blob)
    return response


def _packed(datatype: str, data: list[Any]) -> bytes:
    """Return values that came as JSON as the bytes that they stand for."""
    if datatype == "BYTES":
        flat = np.asarray(data, dtype=object).ravel().tolist()
        return bytes_of_strings([text.encode() for text in flat])
    return np.asarray(data, dtype=DTYPES[datatype]).tobytes()
