"""Replications as tasks of a Ray cluster: the same summaries as in this process, and what a stop keeps."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.scenarios import ROOT, write_scenario

ON_RAY = """
import json, sys, threading
import ray
from infercast.sim.replications import jobs_of, run_all
from infercast.sim.scenario import load_scenario

jobs = jobs_of(load_scenario(sys.argv[1]))
here = run_all(jobs, 1)
ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
try:
    shares = []
    there = run_all(jobs, 1, shares.append)
    stopped = run_all(jobs, 1, stop=lambda: True)
finally:
    ray.shutdown()
print(json.dumps({"equal": here == there, "last": shares[-1], "stopped": [each is None for each in stopped]}))
"""


@pytest.mark.timeout(330)
def test_runs_on_a_ray_cluster_are_the_runs_in_this_process(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    path = write_scenario(tmp_path, {"fail": {"site": "dub", "from": "1s"}}, replications=2, duration="2s")
    found = subprocess.run(
        [sys.executable, "-c", ON_RAY, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stderr[-4000:]
    said = json.loads(found.stdout.splitlines()[-1])
    assert said == {"equal": True, "last": 1.0, "stopped": [True, True]}
