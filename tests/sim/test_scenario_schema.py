"""The schema of scenario files: the committed one is the present one, the examples pass it, and each key says what it is for."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies import fleet
from infercast.policies.documents import Document, examine
from infercast.policies.policy_schema import as_text
from infercast.sim.scenario_file import ScenarioFile
from infercast.sim.scenario_schema import SCENARIO_FILE, scenario_schema
from tests.sim.scenarios import WHOLE
from tests.sim.test_scenario import JUNK, PLACES, RICH

WHAT_IF = Path(__file__).resolve().parents[2] / "examples" / "what-if"
SCHEMA = jsonschema.Draft202012Validator(scenario_schema())


def accepts(value: Any) -> bool:
    return bool(SCHEMA.is_valid(json.loads(json.dumps(value, default=str))))


def test_the_committed_schema_is_the_present_one() -> None:
    """After an intended change: `infercast sim schema --write examples/what-if`."""
    assert (WHAT_IF / SCENARIO_FILE).read_text(encoding="utf-8") == as_text(scenario_schema())
    jsonschema.Draft202012Validator.check_schema(scenario_schema())


@pytest.mark.parametrize("path", sorted(WHAT_IF.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_names_its_schema_first_and_passes_it(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"# yaml-language-server: $schema={SCENARIO_FILE}\n")
    assert list(map(str, SCHEMA.iter_errors(json.loads(json.dumps(yaml.safe_load(text), default=str))))) == []


def test_each_key_says_what_it_is_for() -> None:
    schema = scenario_schema()
    of_the_fleet = {name for name in schema["$defs"] if hasattr(fleet, name)}
    for name, part in {"": schema, **schema["$defs"]}.items():
        for key, value in part.get("properties", {}).items():
            assert name in of_the_fleet or value.get("description"), f"{name}.{key}"


def test_defaults_of_durations_are_written_as_files_write_them() -> None:
    looking = scenario_schema()["$defs"]["Autoscale"]["properties"]
    assert (looking["look_back"]["default"], looking["downscale_delay"]["default"]) == ("30s", "10m")


def test_the_schema_knows_what_a_whole_scenario_says_and_nothing_else() -> None:
    assert accepts(RICH)
    assert accepts({**WHOLE, "workload": "traffic.yaml"})
    assert accepts({"version": 1, "base": "base.yaml"})
    both = {"fail": {"site": "fra"}, "slow": {"site": "fra", "factor": 2}}
    wrongs: tuple[dict[str, Any], ...] = (
        {"versoin": 1},
        {"duration": 60},
        {"seed": "1"},
        {"starts_at": "2026-12-01 09:00"},
        {"changes": [{}]},
        {"changes": [both]},
    )
    for wrong in wrongs:
        assert not accepts({**WHOLE, **wrong}), wrong


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PLACES), st.sampled_from([junk for junk in JUNK if junk is not True]))
def test_what_the_schema_marks_the_loader_refuses(place: tuple[Any, ...], junk: Any) -> None:
    """The other way round does not hold: a schema sees no names, and none of the rules that bind two keys.

    `true` is left out: the fleet's forms take it for 1, as they do in the fleet file.
    """
    value = yaml.safe_load(yaml.safe_dump(RICH))
    inner = value
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = junk
    if not accepts(value) and junk is not None:
        document = Document("f", "")
        document.value, document.faults = value, []
        assert examine(document, ScenarioFile)[1], (place, junk)
