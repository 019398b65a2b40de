"""The vision graphs compute what their operators say, compared before the softmax and on inputs that differ."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_models_{name}", MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


vision = _load("vision")


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    artefact = vision.build("squeezenet", tmp_path_factory.mktemp("models"))
    assert isinstance(artefact, Path)
    return artefact


def test_squeezenet_agrees_with_the_reference_before_softmax(squeezenet: Path) -> None:
    error, change = vision.compare_with_reference(squeezenet)
    assert error < vision.MAX_RELATIVE_ERROR
    assert change > vision.MIN_RELATIVE_CHANGE


def test_check_refuses_constant_output(squeezenet: Path, tmp_path: Path) -> None:
    model = onnx.load(str(squeezenet))
    for tensor in model.graph.initializer:  # as in the packaged graph, whose outputs are all equal
        if tensor.data_type == onnx.TensorProto.FLOAT:
            same = np.full(tuple(tensor.dims), 0.02, dtype=np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(same, tensor.name))
    constant = tmp_path / "constant.onnx"
    onnx.save(model, str(constant))
    assert vision.check("constant", constant) == "constant.onnx: the logits are constant or not finite"


def test_batch_gives_the_single_results(squeezenet: Path) -> None:
    session = vision.cards.open_session(squeezenet)
    images = [vision.random_image(seed) for seed in (1, 2)]
    _, batched = session.run(None, {"image": np.concatenate(images)})
    single = np.concatenate([session.run(None, {"image": image})[1] for image in images])
    np.testing.assert_allclose(batched, single, atol=1e-5)


def test_build_keeps_a_current_artefact_and_replaces_a_damaged_one(tmp_path: Path) -> None:
    artefact = vision.build("squeezenet", tmp_path)
    digest, built_ns = vision.cards.sha256_of(artefact), artefact.stat().st_mtime_ns
    assert vision.build("squeezenet", tmp_path).stat().st_mtime_ns == built_ns
    artefact.write_bytes(b"damaged")
    assert vision.cards.sha256_of(vision.build("squeezenet", tmp_path)) == digest
    assert {path.name for path in tmp_path.iterdir()} == {"squeezenet.onnx", "squeezenet.onnx.sha256"}


@pytest.mark.parametrize("name", ["squeezenet", "resnet50"])
def test_cards_follow_the_schema(name: str) -> None:
    card = json.loads((MODELS / f"{name}.card.json").read_text())
    assert (card["variant"], card["model"], card["artefact"]) == (name, "vision", f"{name}.onnx")
    assert card["accuracy"] is None
    assert card["inputs"][0]["shape"] == [-1, 3, 224, 224]
    assert card["service_time_ms"]["cpu"]["intra_op_threads"] == 1


def test_squeezenet_card_describes_the_build(squeezenet: Path) -> None:
    card = json.loads((MODELS / "squeezenet.card.json").read_text())
    assert card["artefact_bytes"] == squeezenet.stat().st_size


def test_resnet50_agrees_with_the_reference_before_softmax(tmp_path: Path) -> None:
    artefact = vision.build("resnet50", tmp_path)
    try:
        error, change = vision.compare_with_reference(artefact)
    finally:
        artefact.unlink()  # pytest keeps temporary folders of past runs, and this file has 100 MB
    assert error < vision.MAX_RELATIVE_ERROR
    assert change > vision.MIN_RELATIVE_CHANGE


def test_batch_normalization_uses_the_stored_statistics() -> None:
    model = vision.make_model(vision.VARIANTS["resnet50"])
    assert [opset.version for opset in model.opset_import] == [17]
    assert {len(node.output) for node in model.graph.node if node.op_type == "BatchNormalization"} == {1}
