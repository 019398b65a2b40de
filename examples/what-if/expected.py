"""Writes what the scenarios of this folder come to, `NAME.expected.txt`: `python examples/what-if/expected.py`.

A test runs them again and compares every character.
"""

import os
import subprocess
import sys
from pathlib import Path

HERE = Path("examples/what-if")
ROOT = Path(__file__).resolve().parents[2]
OTHERS = ("lose-a-region", "add-an-edge", "one-country", "rush-hour")


def commands() -> dict[Path, list[str]]:
    """Return each file and the command that says what stands in it."""
    base = str(HERE / "base.yaml")
    said = {HERE / "base.expected.txt": ["sim", "run", base]}
    for name in OTHERS:
        said[HERE / f"{name}.expected.txt"] = ["sim", "compare", base, str(HERE / f"{name}.yaml")]
    return said


def told(words: list[str]) -> str:
    """Return what a command prints, on 150 columns."""
    env = {**os.environ, "COLUMNS": "150", "TERM": "dumb", "NO_COLOR": "1"}
    run = [sys.executable, "-c", "from infercast.cli import main; main()", *words]
    return subprocess.run(run, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    for path, words in commands().items():
        (ROOT / path).write_text(told(words), encoding="utf-8")
        print(f"wrote {path}")
