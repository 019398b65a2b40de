"""Runs calls at upstreams: each in the upstream's own API, with its names, inside the time that is left."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import httpx

from infercast.policies.faults import BadInput
from infercast.policies.fleet import Fleet

from ..api import Api
from ..conduct.ports import Carried, Lost
from ..errors import Kind, Trouble
from ..runtime.host import Answer
from ..runtime.load import now_us
from ..streams import begun
from . import hops
from .bodies import BadAnswer, Outgoing, object_in, ours_again, renamed, under_our_name, usage_in
from .standing import Standing
from .statuses import Broken, Declined, Erred, Full, Misset, Unreached, judge
from .streaming import Streamed
from .target import Target, name_of, target_of
from .told import visible

CHECK_S = 2.0
"""What a check may take."""
ERROR_BYTES_MAX = 64 * 1024
Header = tuple[bytes, bytes]
JSON, BINARY = (b"content-type", b"application/json"), (b"content-type", b"application/octet-stream")


class Upstreams:
    """All upstreams of a fleet, as one worker calls them. Raises BadInput where a key or certificate cannot be read."""

    def __init__(self, fleet: Fleet, cluster: str) -> None:
        self._fleet = fleet
        self._cluster = cluster
        self.targets = {
            site.id: target_of(fleet, site, site.upstream) for site in fleet.sites if site.upstream is not None
        }
        self.standings = {site: Standing(site) for site in self.targets}
        self._at = {index: self.targets[fleet.deployments[index].site] for index in fleet.upstream_deployments}

    async def run(self, index: int, call: Carried, timeout_s: float) -> Answer:
        """Run a call at an upstream. Raises Lost (of some kind), Trouble, or TimeoutError when `timeout_s` passes."""
        target = self._at[index]
        standing = self.standings[target.site]
        try:
            async with asyncio.timeout(timeout_s):
                answer = await self._run(target, index, call, timeout_s)
        except Full as full:
            standing.full(index, full.retry_after_s)
            raise
        except Misset as misset:
            if call.api is Api.COMPLETION:  # the older of two ways to call a chat model: not everybody has it
                raise Declined(str(misset)) from misset
            standing.misset(index, str(misset))
            self._renew(target)
            raise
        except Declined:
            raise
        except (Lost, httpx.TransportError, BadAnswer) as error:
            raise self._lost(standing, error) from error
        standing.answered(index)
        return answer

    def _lost(self, standing: Standing, error: Exception) -> Lost:
        """Return what a call that came to nothing says: of the site only where no connection was to be had, or after several in a row.

        One caller's body can make a server reset its connection. Whether it lives, then, the next check says.
        """
        standing.tell(f"{type(error).__name__}: {error}", "calls are decided again without it")
        said = str(error) if isinstance(error, Lost) else f"{standing.site}: {error}"
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            standing.lives = False
            return Unreached(said)
        lost = Lost(said) if standing.broke() else Broken(said)
        lost.ran = not isinstance(error, Erred)
        return lost

    def _renew(self, target: Target) -> None:
        """Read the key again: it may have been rotated."""
        try:
            target.client.renew()
        except BadInput as error:
            self.standings[target.site].tell(error.faults[0].message, error.faults[0].remedy)

    async def _run(self, target: Target, index: int, call: Carried, timeout_s: float) -> Answer:
        upstream = target.upstream
        url = target.ways.get((index, call.api))
        if url is None:
            deployment = self._fleet.deployments[index]
            raise Trouble(Kind.BAD_REQUEST, f"{deployment.variant} does not speak {call.api}", "see docs/http.md")
        out = self._outgoing(target, index, call)
        headers = self._headers(target, call, timeout_s)
        began_us = now_us()
        response = await target.client.send("POST", url, out.body, headers, timeout_s)
        told = response.headers
        if response.status_code != 200:
            judge(target.site, response.status_code, told, await target.client.read(response))
        if told.get("content-encoding", "identity") != "identity":
            await response.stream.aclose()  # type: ignore[union-attr]
            raise BadAnswer("its answer is compressed, though that was not asked for")
        variant = self._fleet.deployments[index].variant
        if call.stream:
            if not told.get("content-type", "").startswith("text/event-stream"):
                await response.stream.aclose()  # type: ignore[union-attr]
                raise BadAnswer("its answer does not come in events")
            stream = Streamed(target.site, response, upstream.stall_s, variant, usage_asked=out.usage_asked)
            try:
                first = await begun(stream)
            except StopAsyncIteration:
                raise BadAnswer("its answer holds no event") from None
            took_us = now_us() - began_us
            return Answer(b"", None, variant, target.site, took_us, _us(told, "emulated"), took_us, stream=first)
        body = await target.client.read(response)
        took_us = now_us() - began_us
        if call.api is Api.INFER:
            length = told.get("inference-header-content-length")
            size = int(length) if length is not None and length.isascii() and length.isdigit() else None
            model = self._fleet.model_of[variant]
            whole, head = ours_again(body, size, model, variant)
            return Answer(whole, head, variant, target.site, took_us, _us(told, "emulated"), took_us)
        value = object_in(body)
        whole, usage = under_our_name(body, value, variant), usage_in(value)
        return Answer(whole, None, variant, target.site, took_us, _us(told, "emulated"), took_us, usage=usage)

    def _outgoing(self, target: Target, index: int, call: Carried) -> Outgoing:
        if call.api is Api.INFER:
            return Outgoing(call.body)
        name = name_of(self._fleet, index, target.upstream)
        if target.upstream.api == "infercast":
            name = name.partition("/")[0]  # in OpenAI's words a model is named, and the cluster chooses the variant
        return renamed(call.body, name, call.api, stream=call.stream)

    def _headers(self, target: Target, call: Carried, timeout_s: float) -> list[Header]:
        """Return the headers of this call beside the fixed ones. To a peer go its class, its id, the time left, and where it has been."""
        headers: list[Header] = [JSON]
        if call.api is Api.INFER and call.header_bytes is not None:
            headers = [BINARY, (b"inference-header-content-length", b"%d" % call.header_bytes)]
        if call.traceparent:
            headers.append((b"traceparent", call.traceparent))
        if target.upstream.api != "infercast":
            return headers
        request, classes = call.request, target.upstream.classes
        headers.append((b"infercast-id", visible(request.id).encode()))
        headers.append((b"infercast-deadline-ms", b"%.3f" % max(0.001, timeout_s * 1000)))
        headers.append((hops.HEADER.encode(), hops.sent_on(call.hops, self._cluster, call.number).encode()))
        if request.classes:
            named = ", ".join(classes.get(name, name) for name in request.classes)
            headers.append((b"infercast-class", visible(named).encode()))
        return headers

    async def check(self, site: str) -> int | None:
        """Ask an upstream whether it lives, which runs no inference. Returns how long that took in us, None where it does not.

        Any answer but a server's fault will do: not every service has something to ask. A key that is not taken is told.
        """
        target, standing = self.targets[site], self.standings[site]
        target.client.trim()
        began_us = now_us()
        try:
            async with asyncio.timeout(CHECK_S):
                response = await target.client.send("GET", target.health, b"", [], CHECK_S)
                with suppress(
                    BadAnswer
                ):  # longer than an answer may be: what it says is not asked, and nothing of it is kept
                    await target.client.read(response)
        except (httpx.TransportError, TimeoutError) as error:
            standing.lives = False
            standing.tell(f"{type(error).__name__}: {error}", "it does not answer; it is asked again all the time")
            return None
        except Exception as error:  # noqa: BLE001 - it would end the watch, and what was known of the site would stand for ever
            standing.lives = False
            standing.tell(
                f"{type(error).__name__}: {error}", "this is our fault; it is asked again all the time", error
            )
            return None
        took_us = now_us() - began_us
        if response.status_code in (401, 403):
            standing.tell(f"status {response.status_code}", "it does not take the key that the fleet file names")
        standing.lives = response.status_code < 500 and response.status_code not in (401, 403)
        return took_us if standing.lives else None

    def at(self, site: str) -> list[int]:
        """Return the deployments that stand at an upstream."""
        return [index for index, target in self._at.items() if target.site == site]

    def healthy(self, index: int) -> bool:
        """Return whether calls may go to a deployment, as far as this worker knows."""
        return self.standings[self._at[index].site].healthy(index)

    def full(self, index: int) -> bool:
        """Return whether a deployment has said that it has no room for now."""
        return self.standings[self._at[index].site].is_full(index)

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(target.client.aclose() for target in self.targets.values()))


def _us(headers: Mapping[str, str], what: str) -> int:
    """Return a time that a peer tells in milliseconds, in us; 0 where it tells none."""
    try:
        value = float(headers.get(f"infercast-{what}-ms", "0"))
    except ValueError:
        return 0
    return int(value * 1000) if 0 <= value < 600_000 else 0
