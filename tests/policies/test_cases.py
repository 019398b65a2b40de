"""A case says when its call comes, or is held to every time window at once."""

from pathlib import Path
from typing import Any

import pytest

from infercast.policies.cases import CaseRequest, check_cases
from infercast.policies.faults import BadInput
from tests.support import engine_of, write

NIGHT = [{"when": {"hours": "22:00-06:00", "zone": "Europe/Berlin"}, "constraints": {"price_max_usd": 0}}]


def failures(tmp_path: Path, outcome: str, **ask: Any) -> tuple[str, ...]:
    request = {"model": "digits", "entry": "ber", "origin": "berlin", **ask}
    case = {"name": "a call", "request": request, "expect": {"outcome": outcome}}
    path = write(tmp_path / "t.cases.yaml", {"version": 1, "tenant": "t", "cases": [case]})
    (result,) = check_cases(path, engine_of(overrides=NIGHT))
    return result.failures


@pytest.mark.parametrize(
    ("at", "outcome"),
    [
        ("2026-12-01 12:00", "chosen"),
        ("2026-12-01 21:00", "refused"),  # 22:00 in Berlin
        ("2026-12-01T21:00:00+01:00", "chosen"),
        ("2026-12-01T22:00:00+01:00", "refused"),
        ("2026-12-01", "refused"),
    ],
)
def test_a_case_is_decided_at_its_time(tmp_path: Path, at: str, outcome: str) -> None:
    assert failures(tmp_path, outcome, at=at) == ()


def test_without_a_time_every_window_is_open(tmp_path: Path) -> None:
    assert failures(tmp_path, "refused") == ()


def test_a_time_without_an_offset_is_utc() -> None:
    request = CaseRequest.model_validate({"model": "m", "entry": "e", "at": "2026-12-01T00:00:00Z"})
    plain = CaseRequest.model_validate({"model": "m", "entry": "e", "at": "2026-12-01 00:00"})
    assert request.at_s == plain.at_s == 1_796_083_200


@pytest.mark.parametrize("at", [5, "soon", True, [], "2026-13-01 10:00"])
def test_what_is_no_time_is_a_fault_in_words(tmp_path: Path, at: Any) -> None:
    with pytest.raises(BadInput, match=r"a time (is written as|such as) 2026-12-31 22:00"):
        failures(tmp_path, "chosen", at=at)
