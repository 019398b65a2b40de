"""Replicas of their own for variants that would hold up a site worker: one Serve deployment per variant and site."""

from ray import serve

from infercast.policies.fleet import Deployment, Fleet

from ..runtime.host import Host
from .settings import narrow_replica
from .wire import Came, came_of


@serve.deployment
class VariantReplica:
    """Hosts one variant; reached by its site's worker only."""

    def __init__(self, fleet: Fleet, deployment: Deployment) -> None:
        narrow_replica()
        self._site = deployment.site
        self._variant = deployment.variant
        self._host = Host(fleet, [deployment])

    async def run(self, body: bytes, header_bytes: int | None) -> Came:
        """Answer one infer request."""
        return await came_of(self._host.run(self._variant, self._site, body, header_bytes))

    async def ping(self) -> bool:
        """Say that the replica is alive."""
        return True
