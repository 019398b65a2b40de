"""Texts to vectors: what Optimum exports of sentence transformers and of plain encoders, in ONNX Runtime."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..runtime.session import open_session

Floats = npt.NDArray[np.float32]
KNOWN = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
POOLED = "sentence_embedding"
PLAIN = ("last_hidden_state", "token_embeddings")
RUN_TOKENS = 4096
"""So many tokens at most, pads included, in one run: what a run takes of memory grows with them."""


class Encoder:
    """The session of one embedder. Not for two threads at once."""

    def __init__(self, variant: str, path: str, accelerator: str = "cpu", threads: int = 1) -> None:
        self._session = open_session(variant, path, accelerator, threads)
        self._inputs = {one.name for one in self._session.get_inputs()}
        outputs = {one.name: one for one in self._session.get_outputs()}
        found = next((name for name in (POOLED, *PLAIN) if name in outputs), None)
        if found is None or "input_ids" not in self._inputs or self._inputs - KNOWN:
            raise ValueError(
                f"{path} is no embedder as Optimum exports it: takes {sorted(self._inputs)}, gives {sorted(outputs)}"
            )
        self._output = found
        self.dimensions = int(self._run([[0]]).shape[-1])

    def run(self, rows: Sequence[Sequence[int]]) -> Floats:
        """Return a vector of length 1 for each row of tokens: [rows, dimensions]. Rows have one token at least."""
        vectors = np.zeros((len(rows), self.dimensions), np.float32)
        # By length, so that rows which run together need few pads.
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        at = 0
        while at < len(order):
            some = _fitting(order[at:], rows)
            vectors[some] = self._run([rows[row] for row in some])
            at += len(some)
        return vectors

    def _run(self, rows: Sequence[Sequence[int]]) -> Floats:
        lengths = np.array([len(row) for row in rows])
        ids = np.zeros((len(rows), int(lengths.max())), np.int64)
        mask = np.arange(ids.shape[1]) < lengths[:, None]
        ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
        given = {
            "input_ids": ids,
            "attention_mask": mask.astype(np.int64),
            "token_type_ids": np.zeros_like(ids),
            "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy(),
        }
        feeds = {name: value for name, value in given.items() if name in self._inputs}
        (found,) = self._session.run([self._output], feeds)
        vectors = found.astype(np.float32)
        if self._output != POOLED:
            vectors = (vectors * mask[:, :, None]).sum(axis=1) / lengths[:, None].astype(np.float32)
        norms = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / np.maximum(norms, 1e-12), np.float32)


def _fitting(order: Sequence[int], rows: Sequence[Sequence[int]]) -> list[int]:
    """The first rows of an order by length that fit into one run; one at least."""
    some = [order[0]]
    for row in order[1:]:
        if len(rows[row]) * (len(some) + 1) > RUN_TOKENS:
            break
        some.append(row)
    return some
