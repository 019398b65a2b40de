"""What tests of the router stand on: the example fleet with its real engine, and fakes at the ports of `conduct`."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson

from infercast.policies import kernel
from infercast.policies.engine import Engine
from infercast.policies.estimates import Estimates
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.model import Request
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies
from infercast.policies.snapshot import Snapshot
from infercast.router.conduct.caller import Caller
from infercast.router.conduct.open import UNLIMITED
from infercast.router.conduct.ports import Accounts, Carried, Lost, Received
from infercast.router.conduct.recorder import Recorder
from infercast.router.errors import Kind, Trouble
from infercast.router.ingress.app import Ingress
from infercast.router.keys import Keys, issue
from infercast.router.runtime.host import Answer
from infercast.router.upstream.statuses import Declined, Full

ROOT = Path(__file__).resolve().parents[2]
WALL_S = 1_795_000_000


@cache
def example_fleet() -> Fleet:
    """The fleet of cluster.yaml."""
    return load_fleet(ROOT / "cluster.yaml")


@cache
def example_engine() -> Engine:
    """The example fleet's engine with the example tenants."""
    return Engine(example_fleet(), load_policies(ROOT / "policies" / "tenants", example_fleet()))


def estimates_at(site: str, fleet: Fleet | None = None) -> Estimates:
    """What a site has learned before its first call."""
    fleet = fleet or example_fleet()
    return Estimates(fleet, site, [index for index, d in enumerate(fleet.deployments) if d.site == site])


def without_deadline() -> Engine:
    """An engine for one tenant whose calls may take what they want."""
    policy = Policy.model_validate({"version": 1, "tenant": "studio", "classes": {"gameplay": {}}})
    return Engine(example_fleet(), {"studio": policy})


def ask(**parts: Any) -> Request:
    """A player's call from Zürich that enters in Frankfurt."""
    usual = {"tenant": "studio", "model": "digits", "entry": "fra", "origin": "zurich", "classes": ("gameplay",)}
    return Request(**{"id": "r1", **usual, **parts})


@dataclass
class Clock:
    """The time that the conduct of calls reads; it moves only when a fake lets it pass."""

    now_us: int = 0

    def __call__(self) -> int:
        return self.now_us

    @contextmanager
    def rules(self) -> Iterator["Clock"]:
        """Put the clock in place of the monotonic one, and stop the one on the wall."""
        wall = patch("infercast.router.ingress.desk._now_s", lambda: WALL_S)
        with patch("infercast.router.conduct.clock.now_us", self), wall:
            yield self


@dataclass
class FakeJournal:
    """Keeps what was written down."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    full: bool = False

    def retry(self) -> bool:
        """Say whether there is room."""
        return not self.full

    def write(self, kind: str, **facts: Any) -> None:
        """Keep one line."""
        self.lines.append({"kind": kind, **facts})

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The lines of a kind."""
        return [line for line in self.lines if line["kind"] == kind]

    def only(self, kind: str = "call") -> dict[str, Any]:
        """The one line of a kind that there must be."""
        (line,) = self.of(kind)
        return line


@dataclass
class FakeLog:
    """Keeps what was logged of decisions, as JSON, which is all that a reader will have of it."""

    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    states: dict[int, dict[str, Any]] = field(default_factory=dict)
    records: list[dict[str, Any]] = field(default_factory=list)
    kept_until_s: list[int | None] = field(default_factory=list)
    withheld: int = 0

    def put(self, digest: str, document: dict[str, Any]) -> None:
        """Keep a document; another one under its digest is refused, as the log refuses it."""
        assert self.documents.setdefault(digest, _as_read(document)) == _as_read(document)

    def snapshot(self, epoch: int, state_of: Callable[[], dict[str, Any]]) -> None:
        """Keep an epoch's signals."""
        self.epochs.append(epoch)
        self.states[epoch] = _as_read(state_of())

    def decision(self, at_s: int, record_of: Callable[[], dict[str, Any]], keep_until_s: int | None) -> None:
        """Keep a decision, whose epoch must be known by then."""
        record = _as_read(record_of())
        assert record["epoch"] in self.states
        self.records.append(record)
        self.kept_until_s.append(keep_until_s)

    def withhold(self) -> None:
        """Count a decision that may not be kept."""
        self.withheld += 1


def _as_read(value: dict[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(orjson.dumps(value))
    return read


@dataclass
class FakeRunner:
    """Plays a script, one word per attempt: ok, lost, hang, trouble, fault, broken, cancelled; `ok` when it has ended.

    `slow` is the share of its patience, in thousandths, that a `lost` attempt takes. Time passes on the clock where
    there is one, else for real.
    """

    fleet: Fleet
    script: list[str] = field(default_factory=list)
    clock: Clock | None = None
    slow: int = 0
    each: Callable[[int], None] = lambda index: None
    calls: list[tuple[int, Carried, float]] = field(default_factory=list)

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Do what the script says next."""
        turn = len(self.calls)
        self.calls.append((deployment, call, timeout_s))
        self.each(deployment)
        word = self.script[turn] if turn < len(self.script) else "ok"
        if word == "hang":
            await self._pass(timeout_s)
            raise TimeoutError
        if word == "lost":
            await self._pass(timeout_s * self.slow / 1000)
            raise Lost("gone")
        if word in TROUBLES:
            trouble = TROUBLES[word]()
            raise trouble
        if word == "cancelled":
            raise asyncio.CancelledError
        place = self.fleet.deployments[deployment]
        return Answer(b"answer", None, place.variant, place.site, 1000, at_site_us=1500)

    async def _pass(self, time_s: float) -> None:
        if self.clock is not None:
            self.clock.now_us += int(time_s * 1_000_000)
        elif time_s:
            await asyncio.sleep(time_s)

    @property
    def tried(self) -> list[str]:
        """The deployments tried, in order."""
        return [self.fleet.deployments[index].id for index, _, _ in self.calls]


TROUBLES: dict[str, Callable[[], Exception]] = {
    "trouble": lambda: Trouble(Kind.BAD_REQUEST, "input 'image' is missing"),
    "fault": lambda: Trouble(Kind.FAULT, "the replica says it is its fault"),
    "broken": lambda: RuntimeError("nobody foresaw this"),
    "saturated": lambda: Trouble(Kind.SATURATED, "256 streams are on"),
    "unavailable": lambda: Trouble(Kind.UNAVAILABLE, "this model was taken down"),
    "full": lambda: Full("far: status 429", 7),
    "declined": lambda: Declined("far: refused"),
}


@dataclass
class Body:
    """A payload that remembers how often it was read."""

    payload: bytes = b"{}"
    reads: int = 0

    async def __call__(self) -> Received:
        self.reads += 1
        return Received(self.payload)


@dataclass
class Scene:
    """A caller with its fakes, and what it left behind."""

    caller: Caller
    runner: FakeRunner
    journal: FakeJournal
    snapshot: Snapshot
    body: Body
    log: FakeLog
    estimates: Estimates

    @property
    def tried_marks(self) -> int:
        """How many deployments are still marked as tried."""
        return sum(int((view[kernel.V_SHUT] & kernel.SHUT_TRIED).sum()) for view in self.snapshot._views.values())


def scene(
    *script: str,
    entry: str = "fra",
    engine: Engine | None = None,
    snapshot: Snapshot | None = None,
    accounts: Accounts = UNLIMITED,
    **more: Any,
) -> Scene:
    """A caller at an entry of the example fleet, every site healthy and idle unless told otherwise."""
    engine = engine or example_engine()
    snapshot = snapshot or Snapshot.declared(engine.fleet)
    runner = FakeRunner(engine.fleet, list(script), **more)
    journal, log = FakeJournal(), FakeLog()
    estimates = estimates_at(entry, engine.fleet)
    recorder = Recorder(entry, engine.fleet, snapshot, log, journal)
    caller = Caller(entry, engine, snapshot, estimates, runner, recorder, journal, accounts=accounts)
    return Scene(caller, runner, journal, snapshot, Body(), log, estimates)


Headers = list[tuple[bytes, bytes]]


@dataclass
class Exchange:
    """One HTTP exchange over ASGI: what was sent back, and how often the application asked for the body."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    receives: int = 0
    sent: int = 0

    @property
    def value(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def error(self) -> str:
        """The error that the body names."""
        return str(self.value["error"])


@dataclass
class Door:
    """An ingress with keys, driven as an ASGI server would. `secrets` maps a key's id to what its owner sends."""

    ingress: Ingress
    scene: Scene
    secrets: dict[str, str]

    def say(self, method: str, path: str, body: bytes = b"", key: str | None = "studio", **more: Any) -> Exchange:
        """Make one exchange. `more`: header names with `_` for `-`; `raw` adds headers, `parts` are the body's messages."""
        return asyncio.run(self.exchange(method, path, body, key, **more))

    async def exchange(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        key: str | None = "studio",
        *,
        parts: list[dict[str, Any]] | None = None,
        raw: Headers | None = None,
        root: str = "",
        **headers: str,
    ) -> Exchange:
        """Make one exchange inside a running loop."""
        done = Exchange()
        given = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
        if key is not None:
            given.append((b"authorization", f"Bearer {self.secrets.get(key, key)}".encode()))
        messages = iter(parts if parts is not None else [{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> dict[str, Any]:
            message: dict[str, Any] | None = next(messages, None)
            if message is None:  # nothing more comes, and the caller stays
                await asyncio.Event().wait()
                raise AssertionError
            done.receives += 1
            return message

        async def send(message: Any) -> None:
            done.sent += 1
            if message["type"] == "http.response.start":
                done.status = message["status"]
                done.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            else:
                done.body += message["body"]

        scope = {"type": "http", "method": method, "path": root + path, "root_path": root}
        with (self.scene.runner.clock or Clock()).rules():
            await self.ingress({**scope, "headers": [*given, *(raw or [])]}, receive, send)
        return done


def door(*script: str, entry: str = "fra", **more: Any) -> Door:
    """An ingress at an entry, and a key for each tenant; `camera` and `ward` are keys of the hospital's."""
    at = scene(*script, entry=entry, **more)
    issued = [issue(tenant, tenant, _origin(entry)) for tenant in at.caller.engine.policies]
    issued.append(issue("camera", "hospital", "berlin-cam", ("personal",)))
    issued.append(issue("ward", "hospital", "berlin", ("open",)))
    ingress = Ingress(at.caller, Keys(key for key, _ in issued), at.journal, list, emulated=True)
    return Door(ingress, at, {key.id: secret for key, secret in issued})


def _origin(entry: str) -> str | None:
    return {"fra": "paris", "iad": "newyork", "sin": "singapore", "gru": "saopaulo", "dub": "paris"}.get(entry)
