"""Replicas of their own for variants that would hold up a site worker: one Serve deployment per variant and site."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

from ray import serve

from infercast.policies.fleet import Deployment, Fleet

from ..api import Api, Asking
from ..runtime.batch import Raw
from ..runtime.host import Host
from ..sight.log_lines import log_to
from .eyes import LOGS
from .settings import narrow_replica
from .wire import Came, Item, came_from, came_of, fault, items_of


@serve.deployment
class VariantReplica:
    """Hosts one variant; reached by its site's worker only."""

    def __init__(self, fleet: Fleet, deployment: Deployment, state: str = "") -> None:
        narrow_replica()
        if state:  # else its logs go where Python puts them
            log_to(deployment.site, Path(state) / LOGS / f"{deployment.site}-{deployment.variant}.jsonl")
        self._site = deployment.site
        self._variant = deployment.variant
        self._host = Host(fleet, [deployment])
        self._batches = deployment.batch_max > 1
        self._run_batch.set_max_batch_size(deployment.batch_max)

    async def run(self, body: bytes, header_bytes: int | None, api: Api) -> Came:
        """Answer one call; with others that wait, in one run, where the fleet file allows batches."""
        if self._batches and api is Api.INFER:
            came: Came = await self._run_batch((body, header_bytes))
            return came
        return await came_of(self._host.run(self._variant, self._site, Asking(body, header_bytes, api)))

    async def stream(self, body: bytes, header_bytes: int | None, api: Api) -> AsyncGenerator[Item, None]:
        """Answer one call in events."""
        asked = Asking(body, header_bytes, api, stream=True)
        async with aclosing(items_of(self._host.run(self._variant, self._site, asked))) as items:
            async for item in items:
                yield item

    @serve.batch(max_batch_size=1, batch_wait_timeout_s=0.0)  # type: ignore[untyped-decorator]
    async def _run_batch(self, calls: list[Raw]) -> list[Came]:
        """Run what has gathered while the run before was on: nobody waits for a batch to fill."""
        try:
            answers = await self._host.run_batch(self._variant, self._site, calls)
        except Exception as error:  # noqa: BLE001 - as in `came_of`
            return [fault(error)] * len(calls)
        return [came_from(answer) for answer in answers]

    async def ping(self) -> bool:
        """Say whether the replica is alive, and its model with it."""
        return self._host.lives(self._variant)
