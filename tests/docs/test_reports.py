"""What the page on reports shows, run as written."""

import re
from pathlib import Path
from typing import Any

from tests.sim.runs import Call, run_of

PAGE = Path(__file__).parents[2] / "docs" / "reports.md"


def test_the_example_makes_a_report() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    known: dict[str, Any] = {
        "runs_before": [run_of([Call(latency_us=20_000 + n)]) for n in range(3)],
        "runs_after": [run_of([Call(latency_us=10_000 + n)]) for n in range(3)],
    }
    exec(code, known)
    assert "p95 latency \N{MINUS SIGN}10 ± 0 ms" in known["words"]
    assert known["html"].startswith("<!doctype html>")
    assert "site waw added" in known["html"]
