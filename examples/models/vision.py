"""Compute-heavy variants: the ResNet-50 and SqueezeNet graphs that the onnx package carries, with seeded weights.

    python examples/models/vision.py           build the artefacts (100 MB and 5 MB) and refresh their cards
    python examples/models/vision.py --check   also compare onnxruntime with onnx's reference evaluator

The packaged graphs have nearly all weights equal, so their output, shipped reference included, is 1000 equal numbers
and says nothing about a runtime. Random weights make the outputs depend on the input; the cost per call is that of
the real networks. They are not trained, so the cards carry no accuracy.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# For those who load this module by path, where its folder is not searched.
sys.path.append(str(Path(__file__).resolve().parent))

if TYPE_CHECKING:
    from examples.models import model_cards as cards
else:
    import model_cards as cards

HERE = Path(__file__).resolve().parent
Floats = npt.NDArray[np.float32]

SEED = 20260102
RECIPE = f"recipe-2-seed-{SEED}"  # renumber when weights or graph change, or stale artefacts pass as current
DEFAULT_OUT = Path(".infercast/models")
IMAGE, FEATURES, LOGITS, PROBABILITIES = "image", "features", "logits", "probabilities"
CLASSES = 1000
MAX_RELATIVE_ERROR = 1e-3
MIN_RELATIVE_CHANGE = 1e-2  # ten times the error allowed, so that rounding alone cannot pass for a change
MIN_SPREAD_OF_SIZE = 1e-4  # rounding gives equal logits a spread near 1e-7 of their size
# Without damping, each residual sum doubles the variance, and 16 of them drive the softmax into saturation.
RESIDUAL_SCALE = 0.5


@dataclass(frozen=True)
class Variant:
    name: str
    packaged_file: str
    timed_rounds: int
    weight_gain: float
    """Factor on the weights of the last layer; it sets the spread of the logits to about 1."""


VARIANTS = {
    "squeezenet": Variant("squeezenet", "light_squeezenet.onnx", 40, 1.5),
    "resnet50": Variant("resnet50", "light_resnet50.onnx", 10, 0.4),
}


def _packaged_graph(variant: Variant) -> onnx.ModelProto:
    path = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light" / variant.packaged_file
    if not path.is_file():
        raise FileNotFoundError(f"this onnx package carries no {variant.packaged_file}: {path}")
    return onnx.load(str(path))


def _parameter_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """Shapes of the float parameters, whether filled by a node or already stored."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {name: tuple(tensor.dims) for name, tensor in stored.items() if tensor.data_type == onnx.TensorProto.FLOAT}
    for node in graph.node:
        if node.op_type == "ConstantOfShape":
            shapes[node.output[0]] = tuple(int(size) for size in numpy_helper.to_array(stored[node.input[0]]))
    return shapes


def _feeding_sums(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node if node.op_type == "Sum" for name in node.input}


def _weight(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """He scaling: it keeps the size of activations through layers followed by a ReLU."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(2 / math.prod(shape[1:])))


def _near(rng: np.random.Generator, centre: float, spread: float, shape: tuple[int, ...]) -> Floats:
    return np.float32(centre) + np.float32(spread) * rng.uniform(-1, 1, shape).astype(np.float32)


def _random_parameters(graph: onnx.GraphProto, gain: float) -> dict[str, Floats]:
    """A value for every parameter, by the part it plays in the node that reads it."""
    rng = np.random.default_rng(SEED)
    shapes, sums = _parameter_shapes(graph), _feeding_sums(graph)
    values: dict[str, Floats] = {}
    last = ""
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            last = node.input[1]
            values[last] = _weight(rng, shapes[last])
            for bias in node.input[2:]:
                values[bias] = _near(rng, 0.0, 0.05, shapes[bias])
        elif node.op_type == "BatchNormalization":
            scale, bias, mean, variance = node.input[1:5]
            values[scale] = _near(rng, RESIDUAL_SCALE if node.output[0] in sums else 1.0, 0.1, shapes[scale])
            values[bias] = _near(rng, 0.0, 0.05, shapes[bias])
            values[mean] = _near(rng, 0.0, 0.05, shapes[mean])
            values[variance] = _near(rng, 1.0, 0.1, shapes[variance])
    values[last] *= np.float32(gain)
    return values


def _renamed(node: onnx.NodeProto, old: str, new: str) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    for names in (copy.input, copy.output):
        for index, name in enumerate(names):
            if name == old:
                names[index] = new
    return copy


def _to_opset_17(node: onnx.NodeProto) -> onnx.NodeProto:
    """Spell out what changed since the packaged opset 9 for the operators in use.

    At opset 9 onnx's reference evaluator mixes batch statistics into BatchNormalization at inference, and so disagrees
    with the specification and with onnxruntime; from opset 14 on it agrees.
    """
    if node.op_type == "Dropout":
        del node.attribute[:]
    return node


def _batched_shapes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> list[onnx.TensorProto]:
    """Shapes that Reshape nodes read, their leading 1 made free for any batch."""
    stored = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.input[1] for node in nodes if node.op_type == "Reshape"]
    return [
        numpy_helper.from_array(np.array([-1, *numpy_helper.to_array(stored[name])[1:]], dtype=np.int64), name)
        for name in names
    ]


def _with_batch(value: onnx.ValueInfoProto, name: str) -> onnx.ValueInfoProto:
    sizes: list[str | int] = [size.dim_value for size in value.type.tensor_type.shape.dim]
    return helper.make_tensor_value_info(name, value.type.tensor_type.elem_type, ["batch", *sizes[1:]])


def _ending() -> list[onnx.NodeProto]:
    """One ending for every variant: a router may pick any of them, so their interface is the same."""
    return [
        helper.make_node("Flatten", [FEATURES], [LOGITS], axis=1),
        helper.make_node("Softmax", [LOGITS], [PROBABILITIES], axis=1),
    ]


def make_model(variant: Variant) -> onnx.ModelProto:
    """The packaged graph with stored random weights, a free batch size and its logits as second output."""
    graph = _packaged_graph(variant).graph
    parameters = _random_parameters(graph, variant.weight_gain)
    before_softmax = next(node.input[0] for node in graph.node if node.op_type == "Softmax")
    kept = [node for node in graph.node if node.op_type not in ("ConstantOfShape", "Softmax")]
    data = next(value for value in graph.input if len(value.type.tensor_type.shape.dim) == 4)
    nodes = [_to_opset_17(_renamed(_renamed(node, before_softmax, FEATURES), data.name, IMAGE)) for node in kept]
    nodes += _ending()
    initializers = [numpy_helper.from_array(value, name) for name, value in parameters.items()]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            variant.name,
            [_with_batch(data, IMAGE)],
            [
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", CLASSES])
                for name in (PROBABILITIES, LOGITS)
            ],
            initializers + _batched_shapes(graph, nodes),
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        producer_name="infercast",
    )
    model.ir_version = 8  # the packaged version 3 would make every weight an input as well
    onnx.checker.check_model(model, full_check=True)
    return model


def build(name: str, out: Path) -> Path:
    """Build one artefact in the folder unless a current one is there; return its path."""
    artefact = out / f"{name}.onnx"
    if cards.is_current(artefact, RECIPE):
        print(f"{name}: {artefact} is current", flush=True)
        return artefact
    print(f"{name}: building {artefact}", flush=True)
    cards.write_artefact(artefact, make_model(VARIANTS[name]).SerializeToString(deterministic=True), RECIPE)
    print(f"{name}: wrote {artefact.stat().st_size} bytes", flush=True)
    return artefact


def random_image(seed: int) -> Floats:
    """Coarse blobs plus fine noise: through pooling, noise alone makes all inputs look alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.standard_normal((1, 3, 7, 7), dtype=np.float32).repeat(32, axis=2).repeat(32, axis=3)
    noise = rng.standard_normal((1, 3, 224, 224), dtype=np.float32)
    return coarse + np.float32(0.25) * noise


def refresh_card(name: str, artefact: Path, folder: Path) -> None:
    """Measure and write the card unless the one there describes these very bytes."""
    path = folder / f"{name}.card.json"
    if path.exists() and cards.read_card(path).get("sha256") == cards.sha256_of(artefact):
        print(f"{name}: {path.name} describes this artefact", flush=True)
        return
    rounds = VARIANTS[name].timed_rounds
    session = cards.open_session(artefact)
    feeds: list[cards.Feeds] = [{session.get_inputs()[0].name: random_image(seed)} for seed in (1, 2, 3)]
    print(f"{name}: timing {rounds * len(feeds)} single-image runs on one thread", flush=True)
    (cpu_ms,) = cards.measure_service_times_ms([session], feeds, rounds)
    cards.write_card(path, cards.make_card("vision", artefact, session, None, cpu_ms))
    print(f"{name}: p50 {cpu_ms['p50']} ms, p95 {cpu_ms['p95']} ms, wrote {path.name}", flush=True)


def _logits(runtime: Any, input_name: str, image: Floats) -> Floats:
    (logits,) = runtime.run([LOGITS], {input_name: image})
    return np.asarray(logits, dtype=np.float32).ravel()


def compare_with_reference(artefact: Path) -> tuple[float, float]:
    """Worst error against the reference, and the change between two inputs, both over the spread of the logits."""
    session = cards.open_session(artefact)
    input_name = session.get_inputs()[0].name
    reference = ReferenceEvaluator(str(artefact))
    images = [random_image(seed) for seed in (11, 12)]
    measured = [_logits(session, input_name, image) for image in images]
    expected = [_logits(reference, input_name, image) for image in images]
    spread = min(float(np.std(logits)) for logits in expected)
    size = max(float(np.max(np.abs(logits))) for logits in expected)
    if not math.isfinite(size) or spread <= MIN_SPREAD_OF_SIZE * size:
        raise ValueError(f"{artefact.name}: the logits are constant or not finite")
    error = max(float(np.max(np.abs(m - e))) for m, e in zip(measured, expected, strict=True))
    return error / spread, float(np.max(np.abs(measured[0] - measured[1]))) / spread


def check(name: str, artefact: Path) -> str | None:
    """Say, in one line, what is wrong with the artefact; None when nothing is."""
    print(f"{name}: comparing logits with the reference evaluator", flush=True)
    start_s = time.monotonic()
    try:
        error, change = compare_with_reference(artefact)
    except ValueError as problem:
        return str(problem)
    elapsed_s = time.monotonic() - start_s
    print(f"{name}: max error {error:.2e} and change between inputs {change:.2e} of the logits' std, {elapsed_s:.0f} s")
    if not error < MAX_RELATIVE_ERROR:
        return f"{name}: logits are off by {error:.2e} of their std, allowed {MAX_RELATIVE_ERROR:.0e}"
    if not change > MIN_RELATIVE_CHANGE:
        return f"{name}: logits change by {change:.2e} of their std between inputs, needed {MIN_RELATIVE_CHANGE:.0e}"
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build, measure and check the vision variants.")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder of the artefacts ({DEFAULT_OUT})")
    parser.add_argument("--check", action="store_true", help="compare onnxruntime with onnx's reference evaluator")
    options = parser.parse_args(arguments)
    problems: list[str] = []
    try:
        for name in VARIANTS:
            artefact = build(name, options.out)
            refresh_card(name, artefact, HERE)
            if options.check and (problem := check(name, artefact)) is not None:
                problems.append(problem)
    except (OSError, ValueError) as error:
        return cards.fail(str(error))
    return cards.fail("; ".join(problems)) if problems else 0


if __name__ == "__main__":
    sys.exit(main())
