"""The Llama architecture as an ONNX graph, in the names and shapes of the decoders that Hugging Face's Optimum exports.

RMSNorm before each block (Zhang and Sennrich 2019), rotary positions in halves (Su et al. 2021), grouped-query attention
(Ainslie et al. 2023), SwiGLU (Shazeer 2020); put together as in Llama 2 (Touvron et al. 2023).

A decoder takes `input_ids` and `position_ids` int64 [batch, tokens], `attention_mask` int64 [batch, past + tokens] and
`past_key_values.{layer}.key|value` float32 [batch, key heads, past, head size]; it gives `logits` float32
[batch, tokens, vocabulary] and `present.{layer}.key|value` [batch, key heads, past + tokens, head size].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Floats = npt.NDArray[np.float32]
Weights = dict[str, Floats]
OPSET = 17
CONTRIBUTED = "com.microsoft"
HIDDEN = -1.0e9
"""What a hidden column's score becomes: far below any, and finite, so that a row of pads stays a number."""


@dataclass(frozen=True)
class Shape:
    """The sizes of a model.

    `tied`: the head is the embedding again. `fused`: attention is ONNX Runtime's GroupQueryAttention, as exporters for
    that runtime write it, and not spelt out in standard operators.
    """

    vocabulary: int
    width: int = 64
    layers: int = 2
    heads: int = 4
    key_heads: int = 2
    inner: int = 128
    positions: int = 1024
    tied: bool = False
    fused: bool = False
    rope_base: float = 10_000.0
    epsilon: float = 1e-5

    @property
    def head_size(self) -> int:
        return self.width // self.heads

    def angles(self) -> Floats:
        """Angle of each position and pair of a head: [positions, head size / 2]."""
        half = self.head_size // 2
        pace = self.rope_base ** (-np.arange(half, dtype=np.float64) / half)
        return np.outer(np.arange(self.positions), pace).astype(np.float32)


class _Graph:
    """Collects nodes and constants; each step is named by its output."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.constants.setdefault(name, numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def whole(self, *values: int) -> str:
        return self.constant("int64_" + "_".join(map(str, values)), np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(f"float_{value}", np.array(value, np.float32))

    def add(self, op_type: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        given = list(outputs) or [f"{op_type}_{len(self.nodes)}"]
        self.nodes.append(helper.make_node(op_type, inputs, given, **attributes))
        return given[0]

    def size(self, of: str, axis: int) -> str:
        """The size of a tensor along an axis, a scalar."""
        index = self.constant(f"axis_{axis}", np.array(axis, np.int64))
        return self.add("Gather", [self.add("Shape", [of]), index], axis=0)


class _Layers:
    """Writes the layers of one model, around what stands before and behind them."""

    def __init__(self, shape: Shape, weights: Weights, *, causal: bool) -> None:
        self.shape, self._weights, self._causal = shape, weights, causal
        self.graph = _Graph()

    def _weight(self, name: str) -> str:
        return self.graph.constant(name, self._weights[name])

    def _project(self, x: str, name: str) -> str:
        return self.graph.add("MatMul", [x, self._weight(name)])

    def norm(self, x: str, name: str) -> str:
        add = self.graph.add
        mean = add("ReduceMean", [add("Mul", [x, x])], axes=[-1], keepdims=1)
        size = add("Sqrt", [add("Add", [mean, self.graph.number(self.shape.epsilon)])])
        return add("Mul", [add("Div", [x, size]), self._weight(name)])

    def write(self) -> str:
        """Embedding and all layers; the normed outcome [batch, tokens, width]."""
        self._before_fused() if self.shape.fused else self._before_spelt_out()
        x = self.graph.add("Gather", [self._weight("embed"), "input_ids"], axis=0)
        attend = self._attend_fused if self.shape.fused else self._attend
        for layer in range(self.shape.layers):
            x = self.graph.add("Add", [x, attend(self.norm(x, f"{layer}.norm_in"), layer)])
            x = self.graph.add("Add", [x, self._feed_forward(self.norm(x, f"{layer}.norm_out"), layer)])
        return self.norm(x, "norm")

    def logits(self, x: str) -> str:
        add = self.graph.add
        head = add("Transpose", [self._weight("embed")], perm=[1, 0]) if self.shape.tied else self._weight("head")
        return add("MatMul", [x, head], "logits")

    def _feed_forward(self, x: str, layer: int) -> str:
        add, gate = self.graph.add, self._project(x, f"{layer}.gate")
        swish = add("Mul", [gate, add("Sigmoid", [gate])])
        return self._project(add("Mul", [swish, self._project(x, f"{layer}.up")]), f"{layer}.down")

    def _before_spelt_out(self) -> None:
        """The rotation of each token [batch, 1, tokens, head size], and which columns a token sees."""
        graph, add = self.graph, self.graph.add
        angles = add("Gather", [graph.constant("angles", self.shape.angles()), "position_ids"], axis=0)
        both = add("Unsqueeze", [add("Concat", [angles, angles], axis=-1), graph.whole(1)])
        self._cos, self._sin = add("Cos", [both]), add("Sin", [both])
        kept = add("Cast", ["attention_mask"], to=TensorProto.BOOL)
        self._seen = add("Unsqueeze", [kept, graph.whole(1, 2, 3)])
        if self._causal:
            zero, one = (graph.constant(f"scalar_{n}", np.array(n, np.int64)) for n in (0, 1))
            columns = graph.size("attention_mask", 1)
            past = add("Sub", [columns, graph.size("input_ids", 1)])
            own = add("Unsqueeze", [add("Range", [past, columns, one]), graph.whole(1)])
            before = add("LessOrEqual", [add("Range", [zero, columns, one]), own])
            self._seen = add("And", [self._seen, before])

    def _heads(self, x: str, count: int) -> str:
        """[batch, tokens, count * head size] to [batch, count, tokens, head size]."""
        split = self.graph.add("Reshape", [x, self.graph.whole(0, 0, count, self.shape.head_size)])
        return self.graph.add("Transpose", [split], perm=[0, 2, 1, 3])

    def _rotated(self, x: str) -> str:
        add = self.graph.add
        add("Split", [x], f"{x}_first", f"{x}_second", axis=-1)
        turned = add("Concat", [add("Neg", [f"{x}_second"]), f"{x}_first"], axis=-1)
        return add("Add", [add("Mul", [x, self._cos]), add("Mul", [turned, self._sin])])

    def _with_past(self, layer: int, kind: str, new: str) -> str:
        if not self._causal:
            return new
        return self.graph.add("Concat", [_past(layer, kind), new], _present(layer, kind), axis=2)

    def _attend(self, x: str, layer: int) -> str:
        shape, graph, add = self.shape, self.graph, self.graph.add
        queries = self._rotated(self._heads(self._project(x, f"{layer}.q"), shape.heads))
        new_keys = self._rotated(self._heads(self._project(x, f"{layer}.k"), shape.key_heads))
        keys = self._with_past(layer, "key", new_keys)
        values = self._with_past(layer, "value", self._heads(self._project(x, f"{layer}.v"), shape.key_heads))
        # Queries that share a key head stand along an axis of their own, so that keys broadcast and are not repeated.
        tokens = graph.add("Unsqueeze", [graph.size("input_ids", 1), graph.whole(0)])
        sizes = [graph.whole(n) for n in (0, shape.key_heads, shape.heads // shape.key_heads)]
        grouped = add("Concat", [*sizes, tokens, graph.whole(shape.head_size)], axis=0)
        queries = add("Reshape", [queries, grouped])
        keys, values = (add("Unsqueeze", [one, graph.whole(2)]) for one in (keys, values))
        scores = add("MatMul", [queries, add("Transpose", [keys], perm=[0, 1, 2, 4, 3])])
        scores = add("Mul", [scores, graph.number(shape.head_size**-0.5)])
        shares = add("Softmax", [add("Where", [self._seen, scores, graph.number(HIDDEN)])], axis=-1)
        mixed = add("Transpose", [add("MatMul", [shares, values])], perm=[0, 3, 1, 2, 4])
        return self._project(add("Reshape", [mixed, graph.whole(0, 0, shape.width)]), f"{layer}.o")

    def _before_fused(self) -> None:
        """What GroupQueryAttention takes in the place of mask and positions: each row's length, and the longest."""
        graph, add = self.graph, self.graph.add
        seen = add("ReduceSum", ["attention_mask", graph.whole(1)], keepdims=0)
        self._last = add("Cast", [add("Sub", [seen, graph.whole(1)])], to=TensorProto.INT32)
        self._longest = add("Cast", [graph.size("attention_mask", 1)], to=TensorProto.INT32)
        angles = self.shape.angles()
        self._cos, self._sin = graph.constant("cos", np.cos(angles)), graph.constant("sin", np.sin(angles))

    def _attend_fused(self, x: str, layer: int) -> str:
        """Attention as one operator, rotation and cache included."""
        given = [self._project(x, f"{layer}.{part}") for part in "qkv"]
        given += [_past(layer, "key"), _past(layer, "value"), self._last, self._longest, self._cos, self._sin]
        mixed = self.graph.add(
            "GroupQueryAttention",
            given,
            f"attended_{layer}",
            _present(layer, "key"),
            _present(layer, "value"),
            domain=CONTRIBUTED,
            num_heads=self.shape.heads,
            kv_num_heads=self.shape.key_heads,
            do_rotary=1,
        )
        return self._project(mixed, f"{layer}.o")


def _past(layer: int, kind: str) -> str:
    return f"past_key_values.{layer}.{kind}"


def _present(layer: int, kind: str) -> str:
    return f"present.{layer}.{kind}"


def _tensor(name: str, kind: int, *sizes: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, list(sizes))


def _model(name: str, graph: _Graph, takes: list[onnx.ValueInfoProto], gives: list[onnx.ValueInfoProto]) -> bytes:
    opsets = [helper.make_opsetid("", OPSET)]
    contributed = any(node.domain for node in graph.nodes)
    if contributed:
        opsets.append(helper.make_opsetid(CONTRIBUTED, 1))
    whole = helper.make_graph(graph.nodes, name, takes, gives, list(graph.constants.values()))
    model = helper.make_model(whole, opset_imports=opsets, producer_name="infercast")
    model.ir_version = 8  # onnx writes its newest by default, which older runtimes refuse
    onnx.checker.check_model(model, full_check=not contributed)
    return bytes(model.SerializeToString(deterministic=True))


def decoder(name: str, shape: Shape, weights: Weights) -> bytes:
    """Return the ONNX file of a decoder with its cache."""
    layers = _Layers(shape, weights, causal=True)
    layers.logits(layers.write())
    whole = TensorProto.INT64
    takes = [
        _tensor("input_ids", whole, "batch_size", "sequence_length"),
        _tensor("attention_mask", whole, "batch_size", "total_sequence_length"),
    ]
    if not shape.fused:  # the fused operator counts positions by itself
        takes.append(_tensor("position_ids", whole, "batch_size", "sequence_length"))
    gives = [_tensor("logits", TensorProto.FLOAT, "batch_size", "sequence_length", shape.vocabulary)]
    for layer in range(shape.layers):
        for kind in ("key", "value"):
            for names, named, length in (
                (takes, _past(layer, kind), "past_sequence_length"),
                (gives, _present(layer, kind), "total_sequence_length"),
            ):
                names.append(_tensor(named, TensorProto.FLOAT, "batch_size", shape.key_heads, length, shape.head_size))
    return _model(name, layers.graph, takes, gives)


def embedder(name: str, shape: Shape, weights: Weights) -> bytes:
    """Return the ONNX file of an embedder: each token sees all; their mean, of length 1, is the vector of the text.

    Takes `input_ids` and `attention_mask` int64 [batch, tokens]; gives `token_embeddings` float32
    [batch, tokens, width] and `sentence_embedding` [batch, width], as exports of sentence transformers do.
    """
    layers = _Layers(shape, weights, causal=False)
    graph, add = layers.graph, layers.graph.add
    zero, one = (graph.constant(f"scalar_{n}", np.array(n, np.int64)) for n in (0, 1))
    counted = add("Unsqueeze", [add("Range", [zero, graph.size("input_ids", 1), one]), graph.whole(0)])
    add("Mul", [counted, add("Sign", ["attention_mask"])], "position_ids")  # pads stand at the end, at position 0
    tokens = add("Identity", [layers.write()], "token_embeddings")
    kept = add("Unsqueeze", [add("Cast", ["attention_mask"], to=TensorProto.FLOAT), graph.whole(-1)])
    total = add("ReduceSum", [add("Mul", [tokens, kept]), graph.whole(1)], keepdims=0)
    length = add("ReduceL2", [total], axes=[-1], keepdims=1)  # the sum points where the mean does
    add("Div", [total, add("Max", [length, graph.number(1e-12)])], "sentence_embedding")
    takes = [
        _tensor(one, TensorProto.INT64, "batch_size", "sequence_length") for one in ("input_ids", "attention_mask")
    ]
    gives = [
        _tensor("token_embeddings", TensorProto.FLOAT, "batch_size", "sequence_length", shape.width),
        _tensor("sentence_embedding", TensorProto.FLOAT, "batch_size", shape.width),
    ]
    return _model(name, graph, takes, gives)
