"""A BERT encoder in numpy, for one of the usual small sentence embedders: what vectors of a real model say of questions.

The fleet's own embedder has random weights. `folder` is a model as Hugging Face has it: `config.json`, `model.safetensors`,
`tokenizer.json`; its vectors are means over tokens, at length 1, as sentence-transformers/all-MiniLM-L6-v2 makes them.
Written from the paper (Devlin et al. 2018) and the file formats' published descriptions.
"""

import json
from collections.abc import Sequence
from math import erf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
_ERF = np.vectorize(erf, otypes=[np.float32])


def tensors_of(path: Path) -> dict[str, Floats]:
    """Return the tensors of a safetensors file: a length, a JSON head that says where each stands, and their bytes."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8 : 8 + size])
    found = {}
    for name, where in head.items():
        if name != "__metadata__" and where["dtype"] == "F32":
            begin, end = (8 + size + at for at in where["data_offsets"])
            found[name] = np.frombuffer(data[begin:end], "<f4").reshape(where["shape"])
    return found


class SentenceEncoder:
    """The encoder, one text at a time."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self._config: dict[str, Any] = json.loads((folder / "config.json").read_text())
        self._weights = tensors_of(folder / "model.safetensors")
        self._tokeniser = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokeniser.no_padding()

    def vectors(self, texts: Sequence[str]) -> Floats:
        """Return a vector of length 1 for each text."""
        return np.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> Floats:
        weights, ids = self._weights, self._tokeniser.encode(text).ids
        x = (
            weights["embeddings.word_embeddings.weight"][ids]
            + weights["embeddings.position_embeddings.weight"][: len(ids)]
            + weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(self._config["num_hidden_layers"]):
            x = self._layer(x, f"encoder.layer.{layer}")
        mean = x.mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), np.float32)

    def _layer(self, x: Floats, at: str) -> Floats:
        heads = self._config["num_attention_heads"]

        def split(name: str) -> Floats:
            value = self._linear(x, f"{at}.attention.self.{name}")
            return value.reshape(len(x), heads, -1).transpose(1, 0, 2)

        query, key, value = (split(name) for name in ("query", "key", "value"))
        scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
        shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        seen = (shares @ value).transpose(1, 0, 2).reshape(len(x), -1)
        x = self._norm(x + self._linear(seen, f"{at}.attention.output.dense"), f"{at}.attention.output.LayerNorm")
        inner = self._linear(x, f"{at}.intermediate.dense")
        inner = inner * 0.5 * (1.0 + _ERF(inner / np.sqrt(2.0)))
        return self._norm(x + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")

    def _linear(self, x: Floats, at: str) -> Floats:
        return np.asarray(x @ self._weights[f"{at}.weight"].T + self._weights[f"{at}.bias"], np.float32)

    def _norm(self, x: Floats, at: str) -> Floats:
        centred = x - x.mean(axis=-1, keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=-1, keepdims=True) + self._config["layer_norm_eps"])
        return np.asarray(centred / spread * self._weights[f"{at}.weight"] + self._weights[f"{at}.bias"], np.float32)
