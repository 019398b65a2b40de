"""schemathesis over the served description: whatever it makes of it, the answers are as the description says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.abuse.scene import Entry

EXAMPLES = os.environ.get("INFERCAST_SCHEMATHESIS", "4")
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,ignored_auth"


@pytest.mark.timeout(900)
def test_schemathesis_finds_nothing(at: Entry, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", f"{at.url}/fra/openapi.json",
        "--header", f"authorization: {at.bearer()['authorization']}",
        "--checks", CHECKS, "--max-examples", EXAMPLES, "--phases", "examples,coverage,fuzzing",
        "--workers", "1", "--request-timeout", "30", "--seed", "1", "--no-color", "--continue-on-failure",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=850)
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}{ran.stderr[-2000:]}"
