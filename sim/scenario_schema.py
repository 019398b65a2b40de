"""The JSON Schema of scenario files, made from the same classes that read them, so that an editor completes and checks them.

A schema sees the shape of a file; names, and what a change makes of the fleet, are checked by `infercast sim check`.
"""

from typing import Any

from infercast.policies.policy_schema import finished

from .durations import in_words
from .scenario_file import ScenarioFile

SCENARIO_FILE = "scenario.schema.json"


def scenario_schema() -> dict[str, Any]:
    """Return the schema of a scenario file."""
    schema = ScenarioFile.model_json_schema()
    _say_defaults(schema)
    return finished(schema, "A scenario", "What would happen if: a fleet, policies and traffic, and what is different.")


def _say_defaults(part: Any) -> None:
    """Write defaults of durations as a file writes them."""
    if isinstance(part, dict):
        if part.get("type") == "string" and isinstance(part.get("default"), int):
            part["default"] = in_words(part["default"])
        for inner in part.values():
            _say_defaults(inner)
    elif isinstance(part, list):
        for inner in part:
            _say_defaults(inner)
