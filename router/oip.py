"""Open Inference Protocol v2 bodies: JSON, and the binary tensor extension. Bytes in, arrays out, and back.

Written from the protocol's published text (KServe open-inference-protocol, and its binary tensor data extension).
No I/O here. Whatever is wrong with a body becomes Trouble(BAD_REQUEST) that names the field.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import orjson

from .errors import Kind, Trouble
from .runtime.session import DATATYPES, DTYPES, Array

DIMENSIONS_MAX = 8
TENSORS_MAX = 64
LEAVES: dict[str, frozenset[type]] = {
    "b": frozenset({bool}),
    "i": frozenset({int}),
    "u": frozenset({int}),
    "f": frozenset({int, float}),
    "O": frozenset({str}),
}
"""What JSON may bring for a kind of datatype."""
LENGTH = struct.Struct("<I")
"""What stands before each value of a BYTES tensor: its length."""
NOT_SERVED = {
    "shared_memory_region": "send the values",
    "classification": "ask for the output itself, and sort it",
    "sequence_id": "send all that a call needs in one request",
}
"""Parameters of Triton's own that would change the answer; others are left unread, as the protocol allows."""


@dataclass(slots=True)
class Infer:
    """A parsed inference request. `binary` names the outputs wanted as raw bytes, None meaning all of them.

    Made for each call, so not frozen.
    """

    id: str
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    binary: frozenset[str] | None


def bad(message: str, remedy: str = "") -> Trouble:
    """Return the trouble of a body that is not as the protocol says."""
    return Trouble(Kind.BAD_REQUEST, message, remedy)


def parse_infer(body: bytes, header_bytes: int | None) -> Infer:
    """Parse an infer request. `header_bytes` is the Inference-Header-Content-Length, None where the body is all JSON."""
    return infer_of(header_of(body, header_bytes), body, header_bytes)


def header_of(body: bytes, header_bytes: int | None) -> dict[str, Any]:
    """Return the JSON part of an infer request."""
    size = len(body) if header_bytes is None else header_bytes
    if not 0 <= size <= len(body):
        raise bad(f"Inference-Header-Content-Length is {size}", f"the body has {len(body)} bytes")
    try:
        header = orjson.loads(body[:size])
    except orjson.JSONDecodeError as error:
        raise bad(f"the body is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise bad("the body is not a JSON object")
    return header


def infer_of(header: dict[str, Any], body: bytes, header_bytes: int | None) -> Infer:
    """Return the infer request whose JSON part is `header`."""
    tensors = _list(header, "inputs")
    if not 0 < len(tensors) <= TENSORS_MAX:
        raise bad(f"inputs holds {len(tensors)} tensors", f"send 1 to {TENSORS_MAX}")
    inputs: dict[str, Array] = {}
    at = len(body) if header_bytes is None else header_bytes
    for index, tensor in enumerate(tensors):
        name, value, used = _input(tensor, index, body, at)
        if name in inputs:
            raise bad(f"inputs[{index}].name: {name!r} stands twice")
        inputs[name] = value
        at += used
    if at != len(body):
        raise bad(f"{len(body) - at} bytes are left after the last tensor", "set binary_data_size to what is sent")
    outputs, binary = _outputs(header)
    call_id = header.get("id", "")
    if not isinstance(call_id, str):
        raise bad(f"id is {call_id!r}", "send a string")
    return Infer(call_id, inputs, outputs, binary)


def _list(header: dict[str, Any], field: str) -> list[Any]:
    value = header.get(field, [])
    if not isinstance(value, list):
        raise bad(f"{field} is not a list")
    return value


def _input(tensor: Any, index: int, body: bytes, at: int) -> tuple[str, Array, int]:
    where = f"inputs[{index}]"
    if not isinstance(tensor, dict):
        raise bad(f"{where} is not an object")
    name, shape = tensor.get("name"), tensor.get("shape")
    datatype = tensor.get("datatype")
    if not isinstance(name, str):
        raise bad(f"{where}.name is missing")
    if datatype == "BF16":
        raise bad(f"{where}.datatype BF16 is not served: ONNX Runtime takes none from outside", "send FP16 or FP32")
    if not isinstance(datatype, str) or datatype not in DTYPES:
        raise bad(f"{where}.datatype {datatype!r} is not known", f"known: {', '.join(DTYPES)}")
    if (
        not isinstance(shape, list)
        or len(shape) > DIMENSIONS_MAX
        or not (set(map(type, shape)) <= {int} and min(shape, default=0) >= 0 and max(shape, default=0) < 2**31)
    ):
        raise bad(f"{where}.shape {shape!r} is not a list of at most {DIMENSIONS_MAX} sizes")
    parameters = _parameters(tensor, f"{where}.")
    if "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        return name, _from_bytes(where, body, at, size, datatype, shape), int(size)
    return name, _from_json(where, tensor.get("data"), datatype, shape), 0


def _parameters(of: dict[str, Any], where: str) -> dict[str, Any]:
    if "parameters" not in of:
        return {}
    parameters = of["parameters"]
    if not isinstance(parameters, dict):
        raise bad(f"{where}parameters is not an object")
    for name, remedy in NOT_SERVED.items():
        if parameters.get(name):
            raise bad(f"{where}parameters.{name} is not served", remedy)
    return parameters


def _from_bytes(where: str, body: bytes, at: int, size: Any, datatype: str, shape: list[int]) -> Array:
    dtype = DTYPES[datatype]
    texts = datatype == "BYTES"
    wanted = prod(shape) * (LENGTH.size if texts else dtype.itemsize)
    if type(size) is not int or size < wanted or (size != wanted and not texts):
        least = "at least " if texts else ""
        raise bad(f"{where}.parameters.binary_data_size is {size!r}", f"{datatype} {shape} takes {least}{wanted} bytes")
    if at + size > len(body):
        raise bad(f"{where}: the body ends {at + size - len(body)} bytes short")
    if texts:
        return _shaped(where, _strings(where, body[at : at + size], prod(shape)), shape)
    return _shaped(where, np.frombuffer(body, dtype=dtype, count=prod(shape), offset=at), shape)


def _strings(where: str, blob: bytes, count: int) -> Array:
    """Return the values of a BYTES tensor. ONNX's strings are UTF-8, so other bytes are refused."""
    texts: list[str] = []
    at = 0
    while at < len(blob) and len(texts) < count:
        if at + LENGTH.size > len(blob):
            break
        (length,) = LENGTH.unpack_from(blob, at)
        at += LENGTH.size + length
        if at > len(blob):
            break
        try:
            texts.append(blob[at - length : at].decode())
        except UnicodeDecodeError as error:
            raise bad(f"{where}: value {len(texts)} is not UTF-8: {error}", "send text") from error
    if at != len(blob) or len(texts) != count:
        raise bad(f"{where}: {len(blob)} bytes are not {count} values, each behind its length in 4 bytes")
    value: Array = np.array(texts, dtype=object)
    return value


def bytes_of_strings(values: Iterable[bytes]) -> bytes:
    """Return the values of a BYTES tensor as they are sent: each behind its length."""
    return b"".join(part for value in values for part in (LENGTH.pack(len(value)), value))


def blob_of(value: Array) -> bytes:
    """Return a tensor's values as the binary tensor extension sends them."""
    if value.dtype.kind == "O":
        return bytes_of_strings([str(text).encode() for text in value.ravel().tolist()])
    return np.ascontiguousarray(value).tobytes()


def _from_json(where: str, data: Any, datatype: str, shape: list[int]) -> Array:
    if not isinstance(data, list):
        raise bad(f"{where}.data is not a list", "send data, or binary_data_size and bytes")
    dtype = DTYPES[datatype]
    kinds = set(map(type, data))
    leaves = data
    if list in kinds:
        leaves = np.asarray(data, dtype=object).ravel().tolist()
        kinds = set(map(type, leaves))
    # numpy would make numbers of words, truths and nulls, and whole numbers of fractions.
    if not kinds <= LEAVES[dtype.kind]:
        raise bad(f"{where}.data is not {datatype}", f"send {shape} of JSON's own kind of value")
    try:
        value = _floats(leaves, dtype) if dtype.kind == "f" else np.asarray(leaves, dtype=dtype)
    except (ValueError, OverflowError, struct.error) as error:
        raise bad(f"{where}.data is not {datatype}: {error}") from error
    if value.size != prod(shape):
        raise bad(f"{where}.data holds {value.size} values", f"shape {shape} takes {prod(shape)}")
    return _shaped(where, value, shape)


def _floats(numbers: list[Any], dtype: np.dtype[np.generic]) -> Array:
    """Return numbers as an array of floats. Raises OverflowError or struct.error for one beyond what the datatype holds.

    `struct` refuses that by itself, and rounds as numpy does, which makes an infinity of it unless a context is set around it:
    half of what it takes to make the array.
    """
    return np.frombuffer(struct.pack(f"<{len(numbers)}{dtype.char}", *numbers), dtype, len(numbers))


def _shaped(where: str, value: Array, shape: list[int]) -> Array:
    try:
        return value.reshape(shape)
    except ValueError as error:  # an empty tensor whose other sizes multiply beyond what numpy counts
        raise bad(f"{where}.shape {shape} is too large") from error


def _outputs(header: dict[str, Any]) -> tuple[tuple[str, ...], frozenset[str] | None]:
    all_binary = _parameters(header, "").get("binary_data_output") is True
    names, binary = [], set()
    for index, output in enumerate(_list(header, "outputs")):
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise bad(f"outputs[{index}].name is missing")
        asked = _parameters(output, f"outputs[{index}].")
        names.append(output["name"])
        if asked.get("binary_data", all_binary) is True:
            binary.add(output["name"])
    return tuple(names), None if all_binary and not names else frozenset(binary)


def render_infer(model: str, variant: str, call: Infer, outputs: Mapping[str, Array]) -> tuple[bytes, int | None]:
    """Return the answer's body, and the length of its JSON part where binary tensors follow it (else None).

    JSON has no NaN and no infinity: an output with one goes as bytes, whatever was asked.
    """
    binary = frozenset(outputs) if call.binary is None else call.binary
    header, blobs = _rendered(model, variant, call.id, outputs, binary)
    if b"null" in header:  # what orjson writes for such a number, or a part of a word
        odd = {name for name, value in outputs.items() if value.dtype.kind == "f" and not np.isfinite(value).all()}
        header, blobs = _rendered(model, variant, call.id, outputs, binary | odd)
    return (b"".join([header, *blobs]), len(header)) if blobs else (header, None)


def _rendered(
    model: str, variant: str, call_id: str, outputs: Mapping[str, Array], binary: frozenset[str]
) -> tuple[bytes, list[bytes]]:
    """Return the answer's JSON, and the values of the outputs that go as bytes."""
    tensors: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, value in outputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": DATATYPES[value.dtype], "shape": list(value.shape)}
        if name in binary:
            blob = blob_of(value)
            tensor["parameters"] = {"binary_data_size": len(blob)}
            blobs.append(blob)
        else:
            tensor["data"] = value.ravel().tolist() if value.dtype.kind == "O" else np.ascontiguousarray(value).ravel()
        tensors.append(tensor)
    answer: dict[str, Any] = {"model_name": model, "model_version": variant, "outputs": tensors}
    if call_id:
        answer["id"] = call_id
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), blobs
