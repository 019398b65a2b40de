"""The shipped digits artefacts are what their cards say, and their spread in accuracy and size is real."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

MODELS = Path(__file__).resolve().parents[2] / "examples" / "models"
VARIANTS = ("digits-small", "digits-medium", "digits-large")


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"examples_models_{name}", MODELS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


digits = _load("digits")


def _card(variant: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((MODELS / f"{variant}.card.json").read_text())
    return card


@pytest.mark.parametrize("variant", VARIANTS)
def test_measured_accuracy_equals_card(variant: str) -> None:
    accuracy = _card(variant)["accuracy"]
    correct, n = digits.count_correct(MODELS / f"{variant}.onnx")
    assert (correct, n) == (accuracy["correct"], accuracy["n"])
    assert accuracy["value"] == correct / n


@pytest.mark.parametrize("variant", VARIANTS)
def test_wilson_interval_solves_its_quadratic(variant: str) -> None:
    accuracy = _card(variant)["accuracy"]
    share, n = accuracy["value"], accuracy["n"]
    assert accuracy["low_95"] < share < accuracy["high_95"]
    for bound in (accuracy["low_95"], accuracy["high_95"]):
        z = abs(share - bound) / math.sqrt(bound * (1 - bound) / n)
        assert z == pytest.approx(1.959963984540054, rel=1e-9)


def test_accuracy_and_size_rise_together() -> None:
    small, medium, large = (_card(variant) for variant in VARIANTS)
    assert small["artefact_bytes"] < medium["artefact_bytes"] < large["artefact_bytes"]
    assert small["accuracy"]["high_95"] < medium["accuracy"]["low_95"]
    assert medium["accuracy"]["high_95"] < large["accuracy"]["low_95"]


def test_accuracy_costs_service_time() -> None:
    small, medium, large = (_card(variant)["service_time_ms"]["cpu"]["p50"] for variant in VARIANTS)
    assert large > 4 * max(small, medium)  # small and medium take some 10 us each, too close to order on a busy machine


def test_held_out_images_took_no_part_in_training() -> None:
    train, held = digits.split_indices()
    assert not set(train.tolist()) & set(held.tolist())
    assert len(train) + len(held) == 1797
    seen = {image.tobytes() for image in digits.training()[0]}
    assert not any(image.tobytes() in seen for image in digits.held_out()[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_card_describes_the_artefact(variant: str) -> None:
    card, artefact = _card(variant), MODELS / f"{variant}.onnx"
    assert card["sha256"] == digits.cards.sha256_of(artefact)
    assert card["artefact_bytes"] == artefact.stat().st_size
    assert card["inputs"] == [{"name": "image", "datatype": "FP32", "shape": [-1, 64]}]
    assert card["outputs"] == [
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 10]},
        {"name": "label", "datatype": "INT64", "shape": [-1]},
    ]


@pytest.mark.parametrize("variant", VARIANTS)
def test_single_and_batched_runs_agree(variant: str) -> None:
    images, _ = digits.held_out()
    session = digits.cards.open_session(MODELS / f"{variant}.onnx")
    batched, labels = session.run(None, {"image": images[:5]})
    single = np.concatenate([session.run(None, {"image": images[i : i + 1]})[0] for i in range(5)])
    assert batched.dtype == np.float32
    assert labels.dtype == np.int64
    np.testing.assert_allclose(single, batched, atol=1e-4)
    np.testing.assert_allclose(batched.sum(axis=1), 1.0, atol=1e-5)
    assert (batched.argmax(axis=1) == labels).all()


def test_check_names_a_changed_artefact(tmp_path: Path) -> None:
    card = _card("digits-small")
    (tmp_path / "digits-small.card.json").write_text(json.dumps(card))
    assert "not found" in digits.difference_from_card(tmp_path, "digits-small")
    (tmp_path / "digits-small.onnx").write_bytes((MODELS / "digits-medium.onnx").read_bytes())
    assert "sha256" in digits.difference_from_card(tmp_path, "digits-small")
    (tmp_path / "digits-small.onnx").write_bytes((MODELS / "digits-small.onnx").read_bytes())
    assert digits.difference_from_card(tmp_path, "digits-small") is None
    card["accuracy"]["correct"] += 1
    (tmp_path / "digits-small.card.json").write_text(json.dumps(card))
    assert "the card says" in digits.difference_from_card(tmp_path, "digits-small")


def test_training_twice_gives_the_same_bytes() -> None:
    assert digits.build("digits-small") == digits.build("digits-small")
