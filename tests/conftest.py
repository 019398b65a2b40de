"""What every test stands on: the repository's root is importable, and hypothesis has no clock."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))  # last: what PYTHONPATH or the installation says of `infercast` comes first

EXAMPLES = int(os.environ.get("INFERCAST_EXAMPLES", "100"))
PHASES = [phase for phase in Phase if phase is not Phase.shrink or os.environ.get("INFERCAST_SHRINK") != "no"]
settings.register_profile(
    "infercast",
    deadline=None,
    phases=PHASES,
    max_examples=EXAMPLES,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("infercast")
