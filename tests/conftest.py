"""What every test stands on: the repository's root is importable, and hypothesis has no clock."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # last: what PYTHONPATH or the installation says of `infercast` comes first

EXAMPLES = int(os.environ.get("INFERCAST_EXAMPLES", "100"))
settings.register_profile(
    "infercast",
    deadline=None,
    max_examples=EXAMPLES,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("infercast")
