"""A tenant with a cache, at an entry of the example fleet: its policy in parts, its scene, and its door."""

from dataclasses import dataclass, field
from typing import Any

from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.router.api import Api, Event, Stream, Usage
from infercast.router.cache.answers import AnswerCache
from infercast.router.conduct.ports import Carried, Lost
from infercast.router.ingress.app import Ingress
from infercast.router.keys import Keys, issue
from infercast.router.runtime.host import Answer
from tests.router.fakes import Clock, Door, Scene, example_fleet, scene

Raw = dict[str, Any]
TTL_S = 60
CLASSES: Raw = {
    "plain": {},
    "sealed": {"residency": {"storage": []}},
    "brief": {"privacy": {"retention_days_max": 0}},
    "swiss": {"residency": {"storage": ["CH"]}},
    "german": {"residency": {"processing": ["DE"]}},
}


def policy_of(tenant: str = "t", **parts: Any) -> Policy:
    """A policy with a cache and classes that differ in what may be stored; `cache` are parts of that, None for none at all."""
    cache = parts.pop("cache", {})
    behaviour = {} if cache is None else {"cache": {"ttl_s": TTL_S, "scope": "tenant", **cache}}
    usual: Raw = {"version": 1, "tenant": tenant, "classes": CLASSES, "behaviour": behaviour}
    return Policy.model_validate({**usual, **parts})


def engine_with(*policies: Policy, fleet: Fleet | None = None) -> Engine:
    """An engine of these tenants."""
    found = policies or (policy_of(),)
    return Engine(fleet or example_fleet(), {policy.tenant: policy for policy in found})


@dataclass
class Events:
    """A stream that gives what it has, then ends as it is told."""

    events: list[Event]
    error: Exception | None = None
    closed: bool = False

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        if self.events:
            return self.events.pop(0)
        if self.error is not None:
            raise self.error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class Numbering:
    """Answers each call with how many it has run before, in the words of the call's API; streams in as many events."""

    fleet: Fleet
    ran: list[Carried] = field(default_factory=list)
    on: list[int] = field(default_factory=list)
    breaks: bool = False
    event: bytes = b'{"n":%d}'

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Answer one call."""
        self.ran.append(call)
        self.on.append(deployment)
        place = self.fleet.deployments[deployment]
        number = len(self.ran)
        stream: Stream | None = None
        if call.stream:
            events: list[Event] = [self.event % number, self.event % number, Usage(3, 2)]
            stream = Events(events, Lost("gone") if self.breaks else None)
        named = b',"id":"x"' if call.api is Api.INFER and b'"id"' in call.body else b""
        body = b"" if call.stream else b'{"n":%d%b}' % (number, named)
        return Answer(body, None, place.variant, place.site, 1000, usage=Usage(3, 2), stream=stream)


@dataclass
class At:
    """An entry with a cache, and what stands behind it."""

    door: Door
    scene: Scene
    cache: AnswerCache
    runner: Numbering
    clock: Clock

    def infer(self, body: bytes = b"", key: str = "t", **headers: str) -> Any:
        """Send one call with tensors, of class `plain` unless told otherwise; `X-Y` is written `X_Y`."""
        given = {"infercast_class": "plain", **headers}
        return self.door.say("POST", "/v2/models/digits/infer", body or question(), key, **given)

    def chat(self, body: bytes, key: str = "t", **headers: str) -> Any:
        """Send one chat."""
        return self.door.say("POST", "/v1/chat/completions", body, key, **{"infercast_class": "plain", **headers})

    def pass_s(self, seconds: float) -> None:
        """Let time pass on the monotonic clock."""
        self.clock.now_us += int(seconds * 1_000_000)


def question(value: float = 0.0, **more: Any) -> bytes:
    """An infer request with one number in an image."""
    import orjson

    image = {"name": "image", "datatype": "FP32", "shape": [1, 64], "data": [value] + [0.0] * 63}
    return orjson.dumps({"inputs": [image], **more})


def at_entry(engine: Engine | None = None, entry: str = "fra", **more: Any) -> At:
    """An entry of the example fleet with a cache. Keys: one of each tenant by its name, `TENANT.other` a second one of it."""
    engine = engine or engine_with()
    clock = Clock(1_000_000_000)
    at = scene(entry=entry, engine=engine, clock=clock)
    runner = Numbering(engine.fleet)
    at.caller.attempts.runner = runner
    at.caller.cache = cache = AnswerCache(at.caller.deciding, **more)
    issued = [
        issue(name, tenant, "zurich" if name.endswith(".swiss") else "paris")
        for tenant in engine.policies
        for name in (tenant, f"{tenant}.other", f"{tenant}.swiss")
    ]
    ingress = Ingress(at.caller, Keys(key for key, _ in issued), at.journal, list, emulated=True)
    door = Door(ingress, at, {key.id: secret for key, secret in issued})
    return At(door, at, cache, runner, clock)
