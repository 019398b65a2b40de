"""schemathesis over the served description: whatever it makes of it, the answers are as the description says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.abuse.scene import Entry

EXAMPLES = os.environ.get("INFERCAST_SCHEMATHESIS", "3")
PHASES = "examples,coverage,fuzzing" if "INFERCAST_SCHEMATHESIS" in os.environ else "examples,fuzzing"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"
# A deadline of a microsecond, or more calls than there is room for, end as the description says, and are no faults.
EXPECTED = '[checks.not_a_server_error]\nexpected-statuses = ["2xx", "4xx", "503", "504"]\n'
MODELS = {"type": "string", "enum": ["digits", "chat", "embedding", "nobody"]}


def naming_models(document: dict[str, Any]) -> dict[str, Any]:
    """The description with the names of models that there are: without them nearly every call is one for none."""
    for ways in document["paths"].values():
        for call in ways.values():
            for parameter in call["parameters"]:
                if parameter["name"] == "model":
                    parameter["schema"] = MODELS
                if parameter["name"] == "infercast-class":
                    parameter["schema"] = {"type": "string", "enum": ["gameplay", "nobody"]}
    for name, shape in document["components"]["schemas"].items():
        if name.endswith(("Call", "Request")) and "model" in shape.get("properties", {}):
            shape["properties"]["model"] = MODELS
    return document


@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing(at: Entry, tmp_path: Path) -> None:
    served = httpx.get(f"{at.url}/fra/openapi.json", timeout=30).json()
    description = tmp_path / "openapi.json"
    description.write_text(json.dumps(naming_models(served)))
    (tmp_path / "schemathesis.toml").write_text(EXPECTED)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", str(description), "--url", f"{at.url}/fra",
        "--header", f"Authorization: {at.bearer()['authorization']}",
        "--checks", CHECKS, "--max-examples", EXAMPLES, "--phases", PHASES,
        "--workers", "1", "--request-timeout", "30", "--seed", "1", "--no-color", "--continue-on-failure",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=850)
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}{ran.stderr[-2000:]}"
    assert "Tested: 14" in ran.stdout or f"Tested: {len(list(_calls(served)))}" in ran.stdout


def _calls(document: dict[str, Any]) -> list[str]:
    return [call["operationId"] for ways in document["paths"].values() for call in ways.values()]
