"""Whoever reaches a Ray port may run any program there, were it not for the cluster's token."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infercast.router.serving.cluster import TOKEN_FILE
from infercast.router.serving.settings import token_environment
from tests.cluster.live import Live

DRIVER = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="critical")
print("in:", len(ray.nodes()))
"""
PATIENCE_S = 120.0


def run(words: list[str], home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program as another user would: with nothing of this one's environment or home."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    own = {
        "HOME": str(home),
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_NUM_REDIS_GET_RETRIES": "2",  # seconds that a driver tries to join for
    }
    words = [sys.executable, *words]
    return subprocess.run(
        words, env={**plain, **own, **environment}, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.timeout(PATIENCE_S + 30)
@pytest.mark.parametrize("environment", [{}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}])
def test_without_the_token_nobody_joins(live: Live, tmp_path: Path, environment: dict[str, str]) -> None:
    tried = run(["-c", DRIVER, live.running.ray], tmp_path, **environment)
    assert tried.returncode != 0
    assert "in:" not in tried.stdout
    assert "AuthenticationError" in tried.stderr


def test_with_the_token_a_driver_joins(live: Live, tmp_path: Path) -> None:
    """The same program, so that it is the token which was missing above."""
    tried = run(["-c", DRIVER, live.running.ray], tmp_path, **token_environment(live.state / TOKEN_FILE))
    assert tried.returncode == 0, tried.stderr
    assert tried.stdout.strip() == f"in: {1 + len({s.id for s in live.fleet.sites} - set(live.running.devices))}"


def test_rays_own_tools_look_at_the_cluster_with_the_token(live: Live, tmp_path: Path) -> None:
    words = ["-m", "ray.scripts.scripts", "status", "--address", live.running.ray]
    shown = run(words, tmp_path, **token_environment(live.state / TOKEN_FILE))
    assert shown.returncode == 0, shown.stderr
    assert "Node status" in shown.stdout


def test_only_its_owner_reads_the_token_and_the_controls_of_the_ingress(live: Live) -> None:
    assert (live.state / TOKEN_FILE).stat().st_mode & 0o777 == 0o600
    folder = Path(live.running.temp) / "haproxy"
    assert list(folder.rglob("admin.sock"))
    assert folder.stat().st_mode & 0o777 == 0o700
    token = (live.state / TOKEN_FILE).read_text()
    assert not [p for p in live.processes() if token in " ".join(p.cmdline()) or token in "".join(p.environ().values())]
