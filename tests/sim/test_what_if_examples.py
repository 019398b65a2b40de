"""The scenarios of examples/what-if come to what stands beside them, character by character."""

import importlib.util
from pathlib import Path

import pytest

from tests.sim.scenarios import ROOT

WHAT_IF = ROOT / "examples" / "what-if"
spec = importlib.util.spec_from_file_location("what_if_expected", WHAT_IF / "expected.py")
assert spec is not None
assert spec.loader is not None
expected = importlib.util.module_from_spec(spec)
spec.loader.exec_module(expected)


@pytest.mark.parametrize(("path", "words"), expected.commands().items(), ids=lambda part: getattr(part, "stem", ""))
def test_a_scenario_comes_to_what_is_committed(path: Path, words: list[str]) -> None:
    """After an intended change: `python examples/what-if/expected.py`, and read what changed."""
    assert expected.told(words) == (ROOT / path).read_text(encoding="utf-8")


def test_every_scenario_has_its_expected_answer() -> None:
    scenarios = {path.stem for path in WHAT_IF.glob("*.yaml")}
    assert {path.stem.removesuffix(".expected") for path in WHAT_IF.glob("*.txt")} == scenarios
