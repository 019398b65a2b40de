"""The system that trouble comes upon, as a test has it: calls, what became of them, policies that change, processes and their faults."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from infercast import system
from infercast.audit import Audit, audit
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies
from infercast.router.ledger.checking import Report, check
from infercast.router.ledger.opening import noted, open_store
from infercast.router.processes import processes_of
from infercast.router.telemetry.journal import read_journal
from tests.cluster.live import ONE_IMAGE
from tests.trouble import world
from tests.trouble.clock import Clock
from tests.trouble.service import Service

Raw = dict[str, Any]
ORIGIN = "home"
CLIENT_S = 60.0
"""How long a caller waits here: longer than any deadline, so that it is the system that ends a call."""
SOON_S = 120.0
"""By when what takes some seconds has come to be on a busy machine: a worker that starts anew takes ten to forty."""
HELLO: list[Raw] = [{"role": "user", "content": "hello"}]


def until(holds: Callable[[], Any], what: str, patience_s: float = SOON_S) -> Any:
    """Wait for something, and return it."""
    end = time.monotonic() + patience_s
    while True:
        found: Any = None
        # A call on a kept connection to a worker that dies is told nothing: HAProxy closes it, for its caller to try again.
        with suppress(httpx.TransportError):
            found = holds()
        if found:
            return found
        assert time.monotonic() < end, f"after {patience_s} s, not so: {what}"
        time.sleep(0.2)


@dataclass(frozen=True)
class Rig:
    """The running system, its upstreams, and whoever troubles them."""

    running: system.Running
    state: Path
    policies: Path
    """The folder that the system follows."""
    fleet: Fleet
    upstreams: dict[str, Service]
    clock: Clock | None
    client: httpx.Client
    floods: list[Any] = field(default_factory=list)
    """How the calls of floods ended."""

    @classmethod
    def of(cls, running: system.Running, state: Path, upstreams: dict[str, Service], clock: Clock | None,
           client: httpx.Client) -> "Rig":  # fmt: skip
        """Read the files anew, as any other program would."""
        return cls(running, state, Path(running.policies), load_fleet(Path(running.fleet)), upstreams, clock, client)

    @property
    def north(self) -> Service:
        """The cheaper upstream: a call that may go to both goes there first."""
        return self.upstreams["north"]

    @property
    def south(self) -> Service:
        """The dearer one."""
        return self.upstreams["south"]

    # Calls

    def url(self, entry: str) -> str:
        """The address of an entry."""
        return f"{self.running.url}/{entry}"

    def headers(self, tenant: str, data_class: str = "plain", **more: Any) -> dict[str, str]:
        """A key and a class; further headers with `_` for `-`."""
        secret = system.secret_of(self.state, f"{tenant}.{ORIGIN}")
        named = {name.replace("_", "-"): str(value) for name, value in more.items()}
        return {"authorization": f"Bearer {secret}", "infercast-class": data_class, **named}

    def infer(self, tenant: str, model: str = "digits", entry: str = "fra", data_class: str = "plain", *,
              body: Raw | bytes | None = None, mark: str = "", **headers: Any) -> httpx.Response:  # fmt: skip
        """Send one call with tensors. `mark` comes to an upstream in the body; `infercast_id="x"` is a header."""
        given = {**ONE_IMAGE, **({"id": mark} if mark else {})} if body is None else body
        content = given if isinstance(given, bytes) else json.dumps(given).encode()
        url = f"{self.url(entry)}/v2/models/{model}/infer"
        return self.client.post(url, content=content, headers=self.headers(tenant, data_class, **headers))

    def chat(self, tenant: str, model: str = "talk", entry: str = "fra", data_class: str = "plain", *,
             stream: bool = False, max_tokens: int = 8, mark: str = "", messages: list[Raw] | None = None,
             **headers: Any) -> httpx.Response:  # fmt: skip
        """Send one chat; a streamed answer is read to its end, and its text holds the events."""
        body: Raw = {"model": model, "messages": messages or HELLO, "max_tokens": max_tokens, "stream": stream}
        body |= {"user": mark} if mark else {}
        url = f"{self.url(entry)}/v1/chat/completions"
        return self.client.post(url, json=body, headers=self.headers(tenant, data_class, **headers))

    def embed(self, tenant: str, model: str = "embedding", entry: str = "fra", data_class: str = "plain", *,
              texts: list[str] | None = None, mark: str = "", **headers: Any) -> httpx.Response:  # fmt: skip
        """Ask for vectors."""
        body: Raw = {"model": model, "input": texts or ["hello"], **({"user": mark} if mark else {})}
        url = f"{self.url(entry)}/v1/embeddings"
        return self.client.post(url, json=body, headers=self.headers(tenant, data_class, **headers))

    def decide(self, tenant: str, model: str = "digits", entry: str = "fra", data_class: str = "plain") -> Raw:
        """Ask for a decision on metadata alone: `chosen`, `verdicts`, `policy_digest` and more."""
        answer = self.client.post(
            f"{self.url(entry)}/v1/decide", json={"model": model, "class": data_class}, headers=self.headers(tenant)
        )
        told: Raw = answer.json()
        return told

    # What became of them

    def lines(self, kind: str = "call", **fields: Any) -> list[Raw]:
        """The journal's lines of a kind, of all sites, whose fields are as given."""
        found = (line for line in read_journal(self.state / "journal") if line["kind"] == kind)
        return [line for line in found if all(line.get(name) == value for name, value in fields.items())]

    def ended(self, request: str) -> Raw:
        """The `call` line of a request (its `infercast-id`), once it stands there; exactly one."""
        (line,) = until(lambda: self.lines(request=request), f"{request} has ended")
        return dict(line)

    def audit(self) -> Audit:
        """Hold the journals against the policies that are in the folder now."""
        return audit(self.state / "journal", Engine(self.fleet, load_policies(self.policies, self.fleet)))

    def books(self) -> Report:
        """Hold the ledger against the journals, once every call that ended is settled."""
        store = open_store(noted(self.state), write=False)
        try:
            folder = self.state / "journal"
            return until(lambda: (found := check(folder, store)).unsettled == 0 and found, "every call is settled")  # type: ignore[no-any-return]
        finally:
            store.close()

    # Policies

    @contextmanager
    def policy(self, tenant: str, **parts: Any) -> Iterator[None]:
        """Let a tenant have another policy for a while (see `world.policy`), in force at every site."""
        path = self.policies / f"{tenant}.yaml"
        before = path.read_text(encoding="utf-8")
        self._put(tenant, json.dumps(world.policy(tenant, **parts)))
        try:
            yield
        finally:
            self._put(tenant, before)

    def _put(self, tenant: str, text: str) -> None:
        (self.policies / f"{tenant}.yaml").write_text(text, encoding="utf-8")
        wanted = load_policies(self.policies, self.fleet)[tenant].digest
        until(
            lambda: all(self.decide(tenant, entry=site).get("policy_digest") == wanted for site in world.OWN),
            f"{tenant}'s policy is in force",
        )

    # Processes

    def processes(self) -> list[psutil.Process]:
        """Every process of this run."""
        return processes_of(self.running.run, self.running.temp)

    def replicas(self, site: str, name: str = "worker") -> list[psutil.Process]:
        """The processes of a site's worker (ingress and host), or of a variant's replica of its own (`squeezenet`)."""
        return [process for process in self.processes() if _titled(process, f"ray::ServeReplica:{site}:{name}")]

    def raylets(self, site: str) -> list[psutil.Process]:
        """The process of Ray that holds a site's replicas."""
        return [process for process in self.processes() if _has(process, "raylet", f'"infercast.io/site":"{site}"')]

    def kill(self, site: str, name: str = "worker") -> None:
        """Kill a worker or replica with SIGKILL. Serve starts another: `well` waits for it."""
        for process in self.replicas(site, name):
            process.kill()

    def kill_board(self) -> None:
        """Kill the board, by which sites hear of each other and calls are settled. Ray starts another."""
        for process in self.processes():
            if _titled(process, "ray::Board"):
                process.kill()

    @contextmanager
    def hung(self, site: str, name: str = "worker") -> Iterator[None]:
        """Let a worker or replica stand still: its kernel side takes data, and nobody answers."""
        with stopped(self.replicas(site, name)):
            yield

    @contextmanager
    def parted(self, site: str) -> Iterator[None]:
        """Let nothing come to or from a site: all its processes stand still, as seen from outside the same as a parted network."""
        with stopped([*self.raylets(site), *self.replicas(site, "")]):
            yield

    @contextmanager
    def disk_full(self, site: str) -> Iterator[None]:
        """Let a site's worker write no further byte to any file: to the process the same as a disk that is full, by another error."""
        held = [(process, process.rlimit(psutil.RLIMIT_FSIZE)) for process in self.replicas(site)]
        for process, (_, hard) in held:
            process.rlimit(psutil.RLIMIT_FSIZE, (1, hard))
        try:
            yield
        finally:
            for process, limit in held:
                if process.is_running():
                    process.rlimit(psutil.RLIMIT_FSIZE, limit)

    # Being well

    def recover(self) -> None:
        """End whatever trouble a test has left."""
        for service in self.upstreams.values():
            service.recover()
        if self.clock is not None:
            self.clock.step(0.0)

    def well(self) -> None:
        """Wait until at every entry every candidate passes again, for a tenant that asks for nothing, and calls are answered."""
        models = [model.id for model in self.fleet.models]
        for site in world.OWN:
            for model in models:
                until(lambda site=site, model=model: self._passes(site, model), f"{model} is well at {site}")  # type: ignore[misc]
            until(lambda site=site: self.infer("calm", entry=site).status_code == 200, f"{site} answers")  # type: ignore[misc]

    def _passes(self, site: str, model: str) -> bool:
        verdicts = self.decide("calm", model, site).get("verdicts", [])
        return bool(verdicts) and all(verdict["rule"] == "none" for verdict in verdicts)


@contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """Let processes stand still for a while."""
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            if process.is_running():
                os.kill(process.pid, signal.SIGCONT)


def _titled(process: psutil.Process, title: str) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    return bool(words) and words[0].startswith(title)


def _has(process: psutil.Process, name: str, text: str) -> bool:
    try:
        return process.name() == name and text in " ".join(process.cmdline()).replace(" ", "")
    except psutil.Error:
        return False
