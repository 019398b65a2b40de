"""The digits variants of the example fleet: their real artefacts, and images that took no part in training."""

import importlib.util
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

from infercast.policies.fleet import Deployment, Fleet
from tests.router.fakes import ROOT, example_fleet

VARIANTS = ("digits-small", "digits-medium", "digits-large")
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@cache
def held_out() -> tuple[Floats, Ints]:
    """Images [600,64] and their labels."""
    spec = importlib.util.spec_from_file_location("examples_models_digits", ROOT / "examples" / "models" / "digits.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images, labels = module.held_out()
    return images, labels


def deployment_of(variant: str, site: str = "fra") -> Deployment:
    """A deployment of the example fleet."""
    fleet = example_fleet()
    return fleet.deployments[fleet.deployment_index[f"{variant}@{site}"]]


def fleet_with(variant: str, **times_ms: float) -> Fleet:
    """The example fleet, with other service times on a variant's card."""
    fleet = example_fleet()
    card = fleet.cards[variant]
    time = card.service_time_ms["cpu"].model_copy(update=times_ms)
    cards = {**fleet.cards, variant: card.model_copy(update={"service_time_ms": {"cpu": time}})}
    return fleet.model_copy(update={"cards": cards})


def infer_body(images: Any, outputs: tuple[str, ...] = (), *, as_bytes: bool = True) -> tuple[bytes, int | None]:
    """An infer request as the client writes it."""
    image = InferInput("image", list(images.shape), "FP32")
    image.set_data_from_numpy(images, binary_data=as_bytes)
    asked = [InferRequestedOutput(name, binary_data=as_bytes) for name in outputs]
    body, header_bytes = InferenceServerClient.generate_request_body([image], asked or None)
    return body, header_bytes


def read_answer(body: bytes, header_bytes: int | None, name: str) -> npt.NDArray[Any]:
    """An output as the client reads it."""
    value: npt.NDArray[Any] = InferenceServerClient.parse_response_body(body, header_length=header_bytes).as_numpy(name)
    return value
