"""The tiny models, built once per run from the script that makes them."""

from dataclasses import replace
from pathlib import Path

import pytest

from examples.models import language, llama_graph


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both models in it, as `make models` leaves them."""
    folder = tmp_path_factory.mktemp("language")
    for name in language.VARIANTS:
        language.build(name, folder)
    return folder


@pytest.fixture(scope="session")
def forms(models: Path) -> dict[str, Path]:
    """The decoder in the forms that exports have, with the same weights: standard operators, and the fused one."""
    shape = language.VARIANTS["tiny-llama"].shape
    spelt_out = models / "tiny-llama" / "onnx" / "model.onnx"
    fused = models / "fused.onnx"
    fused.write_bytes(llama_graph.decoder("fused", replace(shape, fused=True), language.make_weights(shape)))
    return {"spelt out": spelt_out, "fused": fused}
