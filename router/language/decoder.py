"""A decoder in ONNX Runtime: rows of tokens in, the next token's logits out, with what was computed before kept as cache.

Takes what Hugging Face's Optimum exports for the Llama family, and what ONNX Runtime's own model builder does: inputs
`input_ids`, `attention_mask`, where there are `position_ids`, `past_key_values.{layer}.key|value`; outputs `logits`,
`present.{layer}.key|value`. How many layers, key heads and how large they are is read from the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from ..runtime.providers import CUDA
from ..runtime.session import REFUSALS, open_session

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
KNOWN = {"input_ids", "attention_mask", "position_ids"}
CACHED: dict[str, np.dtype[Any]] = {"tensor(float)": np.dtype(np.float32), "tensor(float16)": np.dtype(np.float16)}
CLOSE = 2e-2
"""How far logits of a padded row may be from those of the row alone, as a part of their spread: half precision rounds."""


class RunError(RuntimeError):
    """The runtime could not run these rows: out of memory, mostly."""


class Pads(StrEnum):
    """Where pads may stand in rows of different lengths, so that the model answers as if there were none."""

    LEFT = "left"
    RIGHT = "right"
    NONE = "none"
    """Nowhere: only rows of one length run together."""


@dataclass(slots=True)
class Cache:
    """Keys and values of some rows: per layer two of [rows, key heads, columns, head size]; `lengths` without pads."""

    values: list[ort.OrtValue]
    lengths: Ints

    @property
    def columns(self) -> int:
        """How many columns there are, pads included."""
        columns: int = self.values[0].shape()[2]
        return columns


class Decoder:
    """The session of one decoder. Not for two threads at once."""

    def __init__(self, variant: str, path: str, accelerator: str = "cpu", threads: int = 1) -> None:
        self._session = open_session(variant, path, accelerator, threads)
        self.on_gpu = self._session.get_providers()[0] == CUDA
        self._device = "cuda" if self.on_gpu else "cpu"
        self._read_interface(path)
        self.pads = Pads.LEFT
        self.pads, self.vocabulary = self._probe()

    def _read_interface(self, path: str) -> None:
        inputs = {one.name: one for one in self._session.get_inputs()}
        outputs = {one.name: one for one in self._session.get_outputs()}
        self._past = [name for name in inputs if name.startswith("past_key_values.")]
        self._present = [name.replace("past_key_values.", "present.") for name in self._past]
        strange = sorted(set(inputs) - KNOWN - set(self._past))
        missing = [name for name in ("logits", *self._present) if name not in outputs]
        if strange or missing or not self._past or "input_ids" not in inputs:
            raise ValueError(
                f"{path} is no decoder with a cache as Optimum exports it: "
                f"inputs not known {strange}, outputs missing {missing}, layers with a cache {len(self._past) // 2}"
            )
        shape = inputs[self._past[0]].shape
        if inputs[self._past[0]].type not in CACHED or not (isinstance(shape[1], int) and isinstance(shape[3], int)):
            raise ValueError(f"{path}: {self._past[0]} is {inputs[self._past[0]].type} {shape}, not [free, n, free, n]")
        self.layers, self.key_heads, self.head_size = len(self._past) // 2, int(shape[1]), int(shape[3])
        self.dtype = CACHED[inputs[self._past[0]].type]
        self._masked, self._placed = "attention_mask" in inputs, "position_ids" in inputs

    def empty(self, rows: int) -> Cache:
        """Return the cache of rows that have seen nothing."""
        none = np.zeros((rows, self.key_heads, 0, self.head_size), self.dtype)
        return Cache([self._put(none)] * len(self._past), np.zeros(rows, np.int64))

    def run(self, cache: Cache, tokens: Sequence[Sequence[int]]) -> tuple[Floats, Cache]:
        """Return the logits [rows, vocabulary] that follow each row's new tokens, and the cache with these in it.

        Every row has one new token at least; rows whose new tokens differ in number are for an empty cache.
        """
        fresh = np.array([len(row) for row in tokens], np.int64)
        width, past = int(fresh.max()), cache.columns
        if past and int(fresh.min()) != width:
            raise ValueError("behind a cache, every row takes as many tokens")
        lengths = cache.lengths + fresh
        ids = np.zeros((len(tokens), width), np.int64)
        for row, own in enumerate(tokens):
            ids[row, self._own(width, len(own))] = own
        binding = self._session.io_binding()
        binding.bind_cpu_input("input_ids", ids)
        if self._masked:
            binding.bind_cpu_input("attention_mask", self._mask(lengths, past + width))
        if self._placed:
            binding.bind_cpu_input("position_ids", self._places(cache.lengths, fresh, width))
        for name, value in zip(self._past, cache.values, strict=True):
            binding.bind_ortvalue_input(name, value)
        binding.bind_output("logits", "cpu")
        for name in self._present:
            binding.bind_output(name, self._device)
        try:
            self._session.run_with_iobinding(binding)
        except REFUSALS as error:
            raise RunError(str(error)) from error
        logits, *present = binding.get_outputs()
        last = fresh - 1 if self.pads is Pads.RIGHT else np.full(len(tokens), width - 1)
        return _array(logits)[np.arange(len(tokens)), last].astype(np.float32), Cache(present, lengths)

    def gather(self, parts: Sequence[tuple[Cache, Sequence[int]]]) -> Cache:
        """Return one cache of the named rows of each part, with no more pads than the longest of them needs.

        Copies, by way of the host: done when rows come and go, not at every step.
        """
        if len(parts) == 1 and list(parts[0][1]) == list(range(len(parts[0][0].lengths))):
            return parts[0][0]
        lengths = np.concatenate([cache.lengths[list(rows)] for cache, rows in parts])
        longest = int(lengths.max())
        values: list[ort.OrtValue] = []
        for layer in range(len(self._past)):
            whole = np.zeros((len(lengths), self.key_heads, longest, self.head_size), self.dtype)
            at = 0
            for cache, rows in parts:
                wide = min(longest, cache.columns)
                whole[at : at + len(rows), :, self._own(longest, wide)] = _array(cache.values[layer])[list(rows)][
                    :, :, self._own(cache.columns, wide)
                ]
                at += len(rows)
            values.append(self._put(whole))
        return Cache(values, lengths)

    def _own(self, width: int, count: int) -> slice:
        """Where `count` of `width` columns stand that are no pads."""
        return slice(0, count) if self.pads is Pads.RIGHT else slice(width - count, width)

    def _mask(self, lengths: Ints, columns: int) -> Ints:
        places = np.arange(columns)
        kept = places < lengths[:, None] if self.pads is Pads.RIGHT else places >= columns - lengths[:, None]
        return kept.astype(np.int64)

    def _places(self, before: Ints, fresh: Ints, width: int) -> Ints:
        shift = 0 if self.pads is Pads.RIGHT else width - fresh
        return np.asarray(np.maximum((before - shift)[:, None] + np.arange(width), 0), np.int64)

    def _put(self, value: npt.NDArray[np.generic]) -> ort.OrtValue:
        return ort.OrtValue.ortvalue_from_numpy(value, self._device, 0)

    def _probe(self) -> tuple[Pads, int]:
        """Find out where this model bears pads: two rows of different lengths together, against each of them alone.

        A run or two each; they warm the session as well. Returns the size of the vocabulary, too.
        """
        rows = [[1, 2, 3, 4, 5], [6, 7]]
        after = [[8], [9]]
        alone = np.concatenate([self._logits_after([row], [then]) for row, then in zip(rows, after, strict=True)])
        spread = float(alone.std()) or 1.0
        for self.pads in (Pads.LEFT, Pads.RIGHT):
            try:
                together = self._logits_after(rows, after)
            except RunError:
                continue  # a layout that the model's operators refuse
            if float(np.abs(together - alone).max()) <= CLOSE * spread:
                return self.pads, alone.shape[1]
        return Pads.NONE, alone.shape[1]

    def _logits_after(self, rows: Sequence[Sequence[int]], then: Sequence[Sequence[int]]) -> Floats:
        _, cache = self.run(self.empty(len(rows)), rows)
        return self.run(cache, then)[0]


def _array(value: ort.OrtValue) -> npt.NDArray[Any]:
    array: npt.NDArray[Any] = value.numpy()
    return array
