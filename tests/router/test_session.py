"""One variant in ONNX Runtime: the real digits artefacts answer as their cards say, and take nothing else."""

import ctypes
import logging

import numpy as np
import onnxruntime
import pytest

from infercast.policies.fleet import Card
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime import providers as probing
from infercast.router.runtime.providers import CPU, CUDA, cuda_devices, providers
from infercast.router.runtime.session import Session
from tests.router.digits import VARIANTS, held_out
from tests.router.fakes import example_fleet


def session_of(variant: str, accelerator: str = "cpu") -> Session:
    fleet = example_fleet()
    return Session(fleet.cards[variant], fleet.artefacts[variant], accelerator)


@pytest.mark.parametrize("variant", VARIANTS)
def test_as_many_images_are_read_right_as_the_card_says(variant: str) -> None:
    images, labels = held_out()
    session = session_of(variant)
    session.check({"image": images})
    answer = session.run({"image": images})
    assert list(answer) == ["probabilities", "label"]
    accuracy = session.card.accuracy
    assert accuracy is not None
    assert int(np.sum(answer["label"] == labels)) == accuracy.correct
    assert len(labels) == accuracy.n


def test_only_what_was_asked_for_is_answered_in_that_order() -> None:
    session = session_of("digits-small")
    image = held_out()[0][:1]
    assert list(session.run({"image": image}, ("label",))) == ["label"]
    assert list(session.run({"image": image}, ("label", "probabilities"))) == ["label", "probabilities"]
    np.testing.assert_array_equal(
        session.run({"image": image}, ("probabilities",))["probabilities"],
        session.run({"image": image})["probabilities"],
    )


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("picture", np.zeros((1, 64), np.float32), "input 'image' is missing (send image)"),
        ("image", np.zeros((1, 64), np.float64), "input 'image' is FP64 (send FP32)"),
        ("image", np.zeros((1, 64), np.uint8), "input 'image' is UINT8 (send FP32)"),
        ("image", np.zeros((1, 64), np.dtype(">f4")), "(send FP32)"),
        ("image", np.zeros((1, 63), np.float32), "input 'image' has shape [1, 63] (send [-1, 64])"),
        ("image", np.zeros((64,), np.float32), "input 'image' has shape [64] (send [-1, 64])"),
        ("image", np.zeros((1, 64, 1), np.float32), "input 'image' has shape [1, 64, 1] (send [-1, 64])"),
        ("image", np.zeros((0, 64), np.float32), "input 'image' has shape [0, 64] (send [-1, 64])"),
        ("image", np.zeros((), np.float32), "input 'image' has shape [] (send [-1, 64])"),
    ],
)
def test_a_wrong_input_is_told_what_to_send(name: str, value: np.ndarray, said: str) -> None:
    with pytest.raises(Trouble) as caught:
        session_of("digits-small").check({name: value})
    assert caught.value.kind is Kind.BAD_REQUEST
    assert said in str(caught.value)


def test_an_input_too_many_is_refused() -> None:
    image = held_out()[0][:1]
    with pytest.raises(Trouble, match=r"no input is called 'mask' \(send image\)") as caught:
        session_of("digits-small").check({"image": image, "mask": image})
    assert caught.value.kind is Kind.BAD_REQUEST


def test_an_unknown_output_is_told_the_known_ones() -> None:
    with pytest.raises(Trouble, match=r"no output is called 'lable' \(ask for probabilities, label\)") as caught:
        session_of("digits-small").run({"image": held_out()[0][:1]}, ("label", "lable"))
    assert caught.value.kind is Kind.BAD_REQUEST


def test_what_the_runtime_cannot_run_is_the_replicas_fault_and_nothing_of_the_inputs_is_told() -> None:
    with pytest.raises(Trouble) as caught:
        session_of("digits-small").run({"image": np.zeros((1, 63), np.float32)})
    assert caught.value.kind is Kind.FAULT
    assert caught.value.message == "the runtime could not run digits-small: InvalidArgument"


def test_a_missing_artefact_is_named(tmp_path: object) -> None:
    card: Card = example_fleet().cards["digits-small"]
    with pytest.raises(FileNotFoundError, match=r"digits-small: artefact .*nowhere\.onnx is not there"):
        Session(card, f"{tmp_path}/nowhere.onnx")


def test_cpu_never_asks_for_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def probed() -> int:
        raise AssertionError("the driver was asked")

    monkeypatch.setattr(probing, "cuda_devices", probed)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    providers.cache_clear()
    assert providers("cpu") == (CPU,)
    assert not session_of("digits-small").on_gpu


def test_without_a_driver_one_calm_line_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_driver(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", no_driver)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    cuda_devices.cache_clear()
    providers.cache_clear()
    try:
        with caplog.at_level(logging.DEBUG):
            assert [session_of("digits-small", "h200").on_gpu for _ in range(2)] == [False, False]
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
            ("INFO", "no CUDA device here: h200 runs on the CPU")
        ]
        assert cuda_devices() == 0
    finally:
        cuda_devices.cache_clear()
        providers.cache_clear()


def test_a_driver_without_a_device_counts_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Driver:
        def cuInit(self, flags: int) -> int:  # noqa: N802 - the driver's own name
            return 100  # CUDA_ERROR_NO_DEVICE

    monkeypatch.setattr(ctypes, "CDLL", lambda _: Driver())
    cuda_devices.cache_clear()
    try:
        assert cuda_devices() == 0
    finally:
        cuda_devices.cache_clear()


def test_a_gpu_is_used_where_there_is_one(capfd: pytest.CaptureFixture[str]) -> None:
    if cuda_devices() == 0:
        pytest.skip("no CUDA device here")
    images, labels = held_out()
    session = session_of("digits-large", "gpu")
    assert session.on_gpu
    assert float(np.mean(session.run({"image": images}, ("label",))["label"] == labels)) > 0.97
    assert "rror" not in capfd.readouterr().err
