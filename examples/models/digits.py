"""Three variants of one task, UCI handwritten digits, with a real spread in accuracy, size and service time.

    python examples/models/digits.py           train, export to ONNX, measure, write the cards
    python examples/models/digits.py --check   measure the shipped artefacts again and compare with their cards

The variants share one interface: "image" float32 [N,64], raw pixel values 0..16, in; "probabilities" float32 [N,10]
and "label" int64 [N] out. Kinds and sizes of the models are chosen for the spread, their other hyperparameters by
4-fold cross-validation on the training images alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

# For those who load this module by path, where its folder is not searched.
sys.path.append(str(Path(__file__).resolve().parent))

if TYPE_CHECKING:
    from examples.models import model_cards as cards
else:
    import model_cards as cards

HERE = Path(__file__).resolve().parent
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

VARIANTS = ("digits-small", "digits-medium", "digits-large")
HELD_OUT_COUNT = 600
SEED = 20260101
DATA = f"UCI handwritten digits (scikit-learn load_digits), {HELD_OUT_COUNT} held-out images, stratified, seed {SEED}"
PIXEL_MAX = 16.0

# Shifts by one pixel keep a digit's class; averaging over diagonal ones as well scored worse.
SHIFTS = ((0, 0), (0, 1), (1, 0), (0, -1), (-1, 0))
KERNEL_GAMMA = 1e-3
KERNEL_RIDGE = 1e-3
# Least-squares scores lie near 0 and 1, too flat for a softmax; this factor gave the least cross-validated log loss.
SCORE_SCALE = 15.0

TIMED_ROUNDS = 20  # each of one call per held-out image


def _load() -> tuple[Floats, Ints]:
    from sklearn.datasets import load_digits

    digits = load_digits()
    return digits.data.astype(np.float32), digits.target.astype(np.int64)


def split_indices() -> tuple[Ints, Ints]:
    """Indices into load_digits of the training images and of the held-out images."""
    from sklearn.model_selection import train_test_split

    _, labels = _load()
    train, held = train_test_split(np.arange(len(labels)), test_size=HELD_OUT_COUNT, random_state=SEED, stratify=labels)
    return np.sort(train), np.sort(held)


def training() -> tuple[Floats, Ints]:
    images, labels = _load()
    train, _ = split_indices()
    return images[train], labels[train]


def held_out() -> tuple[Floats, Ints]:
    """Images [600,64] and labels [600] that took no part in training or in the choice of a model."""
    images, labels = _load()
    _, held = split_indices()
    return images[held], labels[held]


class _Graph:
    """Collects nodes and constants of one variant and closes them with the shared interface."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def finish(self, variant: str, scores: str) -> onnx.ModelProto:
        self.add("Softmax", [scores], "probabilities", axis=1)
        self.add("ArgMax", [scores], "label", axis=1, keepdims=0)
        graph = helper.make_graph(
            self._nodes,
            variant,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
            [
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10]),
                helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
            ],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="infercast")
        model.ir_version = 8  # onnx writes its newest by default, which older runtimes refuse
        onnx.checker.check_model(model, full_check=True)
        return model


def _pooling_matrix() -> npt.NDArray[np.float64]:
    """[64,16]: means over 2x2 pixels, scaled to 0..1."""
    halves = np.kron(np.eye(4), np.ones((2, 1)))
    return np.kron(halves, halves) / (4 * PIXEL_MAX)


def build_small(images: Floats, labels: Ints) -> onnx.ModelProto:
    """Softmax regression on the image pooled to 4x4; pooling, scaling and weights fold into a single Gemm."""
    from sklearn.linear_model import LogisticRegression

    pooling = _pooling_matrix()
    fitted = LogisticRegression(C=160.0, max_iter=5000).fit(images @ pooling, labels)
    graph = _Graph()
    weights = graph.constant("weights", (pooling @ fitted.coef_.T).astype(np.float32))
    bias = graph.constant("bias", fitted.intercept_.astype(np.float32))
    return graph.finish("digits-small", graph.add("Gemm", ["image", weights, bias], "scores"))


def build_medium(images: Floats, labels: Ints) -> onnx.ModelProto:
    """A perceptron with one hidden layer of 24 units."""
    from sklearn.neural_network import MLPClassifier

    fitted = MLPClassifier((24,), alpha=1e-3, learning_rate_init=3e-3, max_iter=2000, random_state=0)
    fitted.fit(images.astype(np.float64) / PIXEL_MAX, labels)
    graph = _Graph()
    step = graph.add("Div", ["image", graph.constant("pixel_max", np.array(PIXEL_MAX, np.float32))], "scaled")
    for layer, (weights, bias) in enumerate(zip(fitted.coefs_, fitted.intercepts_, strict=True)):
        if layer > 0:
            step = graph.add("Relu", [step], f"relu_{layer}")
        w = graph.constant(f"weights_{layer}", weights.astype(np.float32))
        b = graph.constant(f"bias_{layer}", bias.astype(np.float32))
        step = graph.add("Gemm", [step, w, b], f"dense_{layer}")
    return graph.finish("digits-medium", step)


def _shifted(images: Floats) -> Floats:
    """[len(SHIFTS) * n, 64]: every image moved by every shift, zeros moving in at the border."""
    padded = np.pad(images.reshape(-1, 8, 8), ((0, 0), (1, 1), (1, 1)))
    moved = [padded[:, 1 + dy : 9 + dy, 1 + dx : 9 + dx].reshape(-1, 64) for dy, dx in SHIFTS]
    return np.concatenate(moved)


def _fit_kernel_ridge(supports: Floats, labels: Ints) -> Floats:
    """Dual weights [m,10] of least-squares classification with a Gaussian kernel."""
    norms = np.square(supports).sum(axis=1)
    kernel = norms[:, None] + norms[None, :] - 2 * supports @ supports.T
    kernel *= -KERNEL_GAMMA
    np.exp(kernel, out=kernel)
    kernel[np.diag_indices(len(kernel))] += KERNEL_RIDGE
    targets = np.eye(10, dtype=np.float32)[labels]
    return np.asarray(np.linalg.solve(kernel, targets), dtype=np.float32)


def _shift_kernels() -> Floats:
    """[len(SHIFTS),1,3,3]: a convolution with a single 1 off its centre is a shift."""
    kernels = np.zeros((len(SHIFTS), 1, 3, 3), dtype=np.float32)
    for index, (dy, dx) in enumerate(SHIFTS):
        kernels[index, 0, 1 + dy, 1 + dx] = 1.0
    return kernels


def build_large(images: Floats, labels: Ints) -> onnx.ModelProto:
    """A Gaussian-kernel machine over all shifted training images, its scores averaged over the shifted input."""
    supports = _shifted(images)
    dual = _fit_kernel_ridge(supports, np.tile(labels, len(SHIFTS)))
    graph = _Graph()
    constant, add = graph.constant, graph.add
    # Pixels are whole numbers: bytes hold them exactly, and squared distances stay exact in float32.
    add("Cast", [constant("supports_u8", supports.astype(np.uint8).T)], "supports", to=TensorProto.FLOAT)
    support_norms = constant("support_norms", np.square(supports).sum(axis=1, dtype=np.float32))
    planes = add("Reshape", ["image", constant("plane_shape", np.array([-1, 1, 8, 8]))], "planes")
    moved = add("Conv", [planes, constant("shift_kernels", _shift_kernels())], "moved", pads=[1, 1, 1, 1])
    rows = add("Reshape", [moved, constant("row_shape", np.array([-1, len(SHIFTS), 64]))], "rows")
    row_norms = add("ReduceSumSquare", [rows], "row_norms", axes=[2], keepdims=1)
    products = add("MatMul", [rows, "supports"], "products")
    doubled = add("Mul", [products, constant("two", np.array(2.0, np.float32))], "doubled")
    partial = add("Sub", [doubled, support_norms], "partial")
    negative_distance = add("Sub", [partial, row_norms], "negative_distance")
    exponent = add("Mul", [negative_distance, constant("gamma", np.array(KERNEL_GAMMA, np.float32))], "exponent")
    similarity = add("Exp", [exponent], "similarity")
    votes = add("MatMul", [similarity, constant("dual", dual * np.float32(SCORE_SCALE))], "votes")
    return graph.finish("digits-large", add("ReduceMean", [votes], "scores", axes=[1], keepdims=0))


BUILDERS = {"digits-small": build_small, "digits-medium": build_medium, "digits-large": build_large}


def build(variant: str) -> bytes:
    """Train one variant and return its ONNX file; the same library versions give the same bytes."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    images, labels = training()
    with threadpool_limits(1):  # sums split over threads round differently from machine to machine
        model = BUILDERS[variant](images, labels)
    return bytes(model.SerializeToString(deterministic=True))


def count_correct(artefact: Path) -> tuple[int, int]:
    """Run the artefact on the held-out images: how many labels are right, of how many."""
    images, labels = held_out()
    (predicted,) = cards.open_session(artefact).run(["label"], {"image": images})
    return int(np.sum(predicted == labels)), len(labels)


def measure(artefacts: list[Path]) -> list[cards.Card]:
    images, _ = held_out()
    sessions = [cards.open_session(artefact) for artefact in artefacts]
    feeds: list[cards.Feeds] = [{"image": images[i : i + 1]} for i in range(len(images))]
    times = cards.measure_service_times_ms(sessions, feeds, TIMED_ROUNDS)
    return [
        cards.make_card("digits", artefact, session, cards.accuracy_entry(*count_correct(artefact), DATA), cpu_ms)
        for artefact, session, cpu_ms in zip(artefacts, sessions, times, strict=True)
    ]


def rebuild(folder: Path) -> None:
    artefacts = [folder / f"{variant}.onnx" for variant in VARIANTS]
    for artefact in artefacts:
        print(f"{artefact.stem}: training", flush=True)
        cards.write_atomically(artefact, build(artefact.stem))
    for card in measure(artefacts):
        cards.write_card(folder / f"{card['variant']}.card.json", card)
        accuracy, cpu_ms = card["accuracy"], card["service_time_ms"]["cpu"]
        print(
            f"{card['variant']}: {accuracy['correct']}/{accuracy['n']} right ({accuracy['value']:.4f}), "
            f"{card['artefact_bytes']} bytes, p50 {cpu_ms['p50']} ms, p95 {cpu_ms['p95']} ms"
        )


def difference_from_card(folder: Path, variant: str) -> str | None:
    """Say, in one line, how the artefact departs from its card; None when it does not."""
    artefact = folder / f"{variant}.onnx"
    if not artefact.is_file():
        return f"{variant}: {artefact} not found; run without --check to build it"
    try:
        card = cards.read_card(folder / f"{variant}.card.json")
        digest, accuracy = str(card["sha256"]), (card["accuracy"]["correct"], card["accuracy"]["n"])
    except (ValueError, KeyError, TypeError) as error:
        return f"{variant}: unusable card: {error}"
    if cards.sha256_of(artefact) != digest:
        return f"{variant}: sha256 is {cards.sha256_of(artefact)}, the card says {digest}"
    measured = count_correct(artefact)
    if measured != accuracy:
        return f"{variant}: {measured[0]}/{measured[1]} right, the card says {accuracy[0]}/{accuracy[1]}"
    print(f"{variant}: {measured[0]}/{measured[1]} right and sha256, as on the card")
    return None


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Train, export and check the digits variants.")
    parser.add_argument("--check", action="store_true", help="compare the shipped artefacts with their cards")
    if not parser.parse_args(arguments).check:
        rebuild(HERE)
        return 0
    differences = [text for variant in VARIANTS if (text := difference_from_card(HERE, variant)) is not None]
    return cards.fail("; ".join(differences)) if differences else 0


if __name__ == "__main__":
    sys.exit(main())
