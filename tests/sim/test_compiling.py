"""The digest by which numba's cache knows the kernel: of its code and of all that it names, however far away."""

from types import ModuleType
from typing import Any

import numpy as np
import pytest

from infercast.sim.kernel.compiling import digest_of
from infercast.sim.kernel.loop import interpreted

SOURCE = '''
LIMIT = {limit}
SHARES = (1, 2)

def inner(value):
    """{words}"""
    return value {sign} LIMIT + far.STEP + table[0]

def outer(value):
    return inner(value) * SHARES[0]
'''


def digest(limit: int = 1, sign: str = "+", words: str = "Add.", step: int = 3, first: int = 7) -> int:
    far = ModuleType("far")
    far.STEP = step  # type: ignore[attr-defined]
    names: dict[str, Any] = {"far": far, "table": np.array([first])}
    exec(SOURCE.format(limit=limit, sign=sign, words=words), names)
    return digest_of(names["outer"])


@pytest.mark.parametrize("changed", [{"limit": 2}, {"sign": "-"}, {"step": 4}, {"first": 8}])
def test_what_changes_the_machine_code_changes_the_digest(changed: dict[str, Any]) -> None:
    assert digest(**changed) != digest()


def test_words_do_not() -> None:
    assert digest(words="Add another thing.") == digest() == digest()


def test_the_kernels_digest_reaches_the_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of(interpreted)
    monkeypatch.setattr("infercast.policies.kernel.V_QUEUE_MAX", 1)
    assert digest_of(interpreted) != before
