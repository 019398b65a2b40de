"""What a site's worker tells the others of its deployments."""

import asyncio
from typing import Any

import pytest

from infercast.policies.snapshot import Snapshot
from infercast.router.runtime.host import Host
from infercast.router.serving.runner import SILENT_MAX, ClusterRunner
from infercast.router.upstream.runner import Upstreams
from tests.router.digits import deployment_of
from tests.router.fakes import estimates_at, example_fleet

NAME = "digits-small@fra"


class Replica:
    """The handle of a replica that says what it is told to."""

    lives = True

    def options(self, **_: Any) -> "Replica":
        """Itself, whatever the method."""
        return self

    async def remote(self) -> bool:
        """Answer a ping."""
        return self.lives


def runner_of(own: dict[str, Any]) -> tuple[ClusterRunner, Host]:
    fleet = example_fleet()
    host = Host(fleet, [deployment_of("digits-small")])
    estimates, upstreams = estimates_at("fra"), Upstreams(fleet, "a" * 16)
    return ClusterRunner("fra", fleet, Snapshot(fleet), estimates, host, own, False, upstreams), host


def test_a_deployment_whose_model_is_not_well_is_told_as_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    runner, host = runner_of({})
    assert runner.reports()[NAME].healthy
    monkeypatch.setattr(host, "lives", lambda variant: variant != "digits-small")
    healthy = {name: report.healthy for name, report in runner.reports().items()}
    assert [name for name, well in healthy.items() if not well] == [NAME]


def test_a_replica_that_says_it_is_not_well_is_told_as_unhealthy_until_it_is() -> None:
    replica = Replica()
    runner, _ = runner_of({"digits-small": replica})
    replica.lives = False
    for _ in range(SILENT_MAX):
        assert runner.reports()[NAME].healthy
        asyncio.run(runner.look_after_own())
    assert not runner.reports()[NAME].healthy
    replica.lives = True
    asyncio.run(runner.look_after_own())
    assert runner.reports()[NAME].healthy
