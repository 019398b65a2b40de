"""One variant, ready to run: an ONNX Runtime session with few threads and checked inputs."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from infercast.policies.fleet import Card, Tensor

from ..errors import Kind, Trouble
from .providers import CUDA, providers

Array = npt.NDArray[np.generic]
DTYPES: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
"""Open Inference Protocol datatypes and their numpy twins (little-endian, as the protocol sends them; BYTES are strings)."""
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
REFUSALS = (state.Fail, state.InvalidArgument, state.RuntimeException, state.EPFail, state.NotImplemented)
"""What the runtime raises where it cannot run: out of memory, or inputs whose values the model does not take."""
SEVERITY_FATAL = 4
FITTING_MAX = 256
"""Datatypes and shapes that were found to fit, and need not be looked at again."""
ROWS_MAX = 4096
"""Inputs of one call: what a run takes of memory grows with them, and is many times the body's size."""


def open_session(variant: str, path: str, accelerator: str, threads: int) -> ort.InferenceSession:
    """Return an ONNX Runtime session with so many threads, silent. Raises FileNotFoundError."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{variant}: artefact {path} is not there; make the models first")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = SEVERITY_FATAL
    # Spinning threads would take the cores that other replicas of the machine need.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(path, options, providers=list(providers(accelerator)))


class Session:
    """A loaded artefact. `run` takes and gives arrays by name; it blocks, for about the card's service time."""

    def __init__(self, card: Card, path: str, accelerator: str = "cpu", threads: int = 1) -> None:
        self.card = card
        self._session = open_session(card.variant, path, accelerator, threads)
        self.on_gpu = self._session.get_providers()[0] == CUDA
        self._inputs = {tensor.name: tensor for tensor in card.inputs}
        self._outputs = [tensor.name for tensor in card.outputs]
        self._fitting: set[tuple[str, np.dtype[np.generic], tuple[int, ...]]] = set()

    def check(self, inputs: Mapping[str, Array]) -> None:
        """Raise Trouble(BAD_REQUEST) unless names, datatypes and shapes are those of the card."""
        for name in self._inputs:
            if name not in inputs:
                raise Trouble(Kind.BAD_REQUEST, f"input {name!r} is missing", f"send {', '.join(self._inputs)}")
        for name, value in inputs.items():
            if name not in self._inputs:
                raise Trouble(Kind.BAD_REQUEST, f"no input is called {name!r}", f"send {', '.join(self._inputs)}")
            signature = (name, value.dtype, value.shape)
            if signature not in self._fitting:
                _check_tensor(self._inputs[name], value)
                if len(self._fitting) < FITTING_MAX:
                    self._fitting.add(signature)

    def outputs(self, asked: tuple[str, ...]) -> list[str]:
        """Return the outputs to compute. Raises Trouble(BAD_REQUEST) for one that the model does not have."""
        for name in asked:
            if name not in self._outputs:
                remedy = f"ask for {', '.join(self._outputs)}"
                raise Trouble(Kind.BAD_REQUEST, f"no output is called {name!r}", remedy)
        return list(asked) or self._outputs

    def run(self, inputs: Mapping[str, Array], asked: tuple[str, ...] = ()) -> dict[str, Array]:
        """Return the asked outputs, all of them when none is named. Raises Trouble(FAULT) where the runtime cannot run these inputs."""
        names = self.outputs(asked)
        try:
            return dict(zip(names, self._session.run(names, dict(inputs)), strict=True))
        except REFUSALS as error:  # what it says may hold values of the inputs: that is nobody's to read
            said = f"the runtime could not run {self.card.variant}: {type(error).__name__}"
            raise Trouble(Kind.FAULT, said, "the call may be repeated") from error


def _check_tensor(tensor: Tensor, value: Array) -> None:
    got = DATATYPES.get(value.dtype)
    if got != tensor.datatype:
        raise Trouble(Kind.BAD_REQUEST, f"input {tensor.name!r} is {got}", f"send {tensor.datatype}")
    if value.shape and value.shape[0] > ROWS_MAX:
        raise Trouble(Kind.TOO_LARGE, f"input {tensor.name!r} has {value.shape[0]} rows", f"at most {ROWS_MAX} a call")
    fits = len(value.shape) == len(tensor.shape) and all(
        want in (-1, have) for want, have in zip(tensor.shape, value.shape, strict=True)
    )
    if not fits or 0 in value.shape:
        wanted = list(tensor.shape)
        raise Trouble(Kind.BAD_REQUEST, f"input {tensor.name!r} has shape {list(value.shape)}", f"send {wanted}")
