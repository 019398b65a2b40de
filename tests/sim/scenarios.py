"""Scenario files of the tests: the example fleet and tenants, a few calls, and the changes that a test asks for."""

from pathlib import Path
from typing import Any

import yaml

from infercast.policies.faults import BadInput
from infercast.sim.scenario import Scenario, load_scenario
from infercast.sim.settings import Setting

ROOT = Path(__file__).resolve().parents[2]
SOURCE = {
    "name": "wards",
    "tenant": "hospital",
    "model": "digits",
    "classes": ["personal"],
    "origins": ["paris", "berlin"],
    "rate": {"poisson_per_s": 5},
}
WHOLE: dict[str, Any] = {
    "version": 1,
    "fleet": str(ROOT / "cluster.yaml"),
    "policies": str(ROOT / "policies" / "tenants"),
    "starts_at": "2026-12-01 09:00 Europe/Berlin",
    "duration": "4s",
    "workload": {"sources": [SOURCE]},
}


def write_scenario(folder: Path, *changes: dict[str, Any], name: str = "s.yaml", **said: Any) -> Path:
    """Write a scenario; `said` takes the place of what WHOLE says, None leaves it out. Return its path."""
    value = {**WHOLE, **said, "changes": list(changes)}
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({key: part for key, part in value.items() if part is not None}, sort_keys=False))
    return path


def load(folder: Path, *changes: dict[str, Any], settings: tuple[Setting, ...] = (), **said: Any) -> Scenario:
    """Return such a scenario, loaded."""
    return load_scenario(write_scenario(folder, *changes, **said), settings)


def faults(folder: Path, *changes: dict[str, Any], settings: tuple[Setting, ...] = (), **said: Any) -> list[str]:
    """Return what is wrong with such a scenario, each without the folder; [] when nothing is."""
    try:
        load(folder, *changes, settings=settings, **said)
    except BadInput as error:
        return [str(fault).replace(f"{folder}/", "").replace(f"{ROOT}/", "") for fault in error.faults]
    return []


def line_of(path: Path, word: str) -> int:
    """Return the first line that holds a word."""
    return next(number for number, line in enumerate(path.read_text().splitlines(), 1) if word in line)
