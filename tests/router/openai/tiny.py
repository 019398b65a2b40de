"""The tiny language models, built where the tests run, and an entry that serves them over real HTTP on loopback."""

import asyncio
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import openai
import uvicorn

from examples.models import language
from infercast.policies.documents import read_document
from infercast.policies.engine import Engine
from infercast.policies.fleet import Card, Fleet
from infercast.policies.fleet_file import fleet_of
from infercast.policies.policy_file import load_policies
from infercast.router.conduct.caller import Caller
from infercast.router.conduct.ports import Carried, Lost
from infercast.router.ingress.app import Ingress
from infercast.router.keys import Keys, issue
from infercast.router.language.model import Embedder, TextModel
from infercast.router.openai.host import LanguageHost
from infercast.router.runtime.host import Answer
from tests.router.fakes import ROOT, FakeJournal, scene

CONTEXT_TOKENS = language.CONTEXT_TOKENS
START_S = 20.0


@cache
def artefact(name: str) -> Path:
    """A tiny model's ONNX file, its folder beside it."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-"))
    return language.build(name, folder)


def card(name: str) -> Card:
    """What is said of a tiny model."""
    return Card.model_validate_json((ROOT / "examples" / "models" / f"{name}.card.json").read_text())


@contextmanager
def text_model(**more: Any) -> Iterator[TextModel]:
    """The tiny decoder, for as long as it is needed."""
    text = card("tiny-llama").text
    assert text is not None
    model = TextModel("tiny-llama", str(artefact("tiny-llama")), text, **more)
    try:
        yield model
    finally:
        model.close()


@contextmanager
def embedder() -> Iterator[Embedder]:
    """The tiny embedder, for as long as it is needed."""
    text = card("tiny-embed").text
    assert text is not None
    model = Embedder("tiny-embed", str(artefact("tiny-embed")), text)
    try:
        yield model
    finally:
        model.close()


@cache
def fleet() -> Fleet:
    """The example fleet, its language models at Frankfurt, Dublin and Virginia, and their files built here."""
    document = read_document(ROOT / "cluster.yaml")
    value = document.value  # changed in place: this document is nobody else's
    others = [deployment for deployment in value["deployments"] if not deployment["variant"].startswith("tiny-")]
    for variant in ("tiny-llama", "tiny-embed"):
        others += [{"site": site, "variant": variant} for site in ("fra", "dub", "iad")]
    value["deployments"] = others
    for variant in (one for model in value["models"] for one in model["variants"] if one["id"].startswith("tiny-")):
        variant["artefact"] = str(artefact(variant["id"]))
    return fleet_of(document, ROOT)


@dataclass
class HostRunner:
    """Runs calls on models in this process, whatever site was chosen. Plays a script first: a word per attempt."""

    fleet: Fleet
    models: dict[str, TextModel | Embedder]
    script: list[str] = field(default_factory=list)
    ran: list[Carried] = field(default_factory=list)

    async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
        """Run a call."""
        self.ran.append(call)
        if self.script and self.script.pop(0) == "lost":
            raise Lost("gone")
        place = self.fleet.deployments[deployment]
        host = LanguageHost(place.variant, place.site, self.models[place.variant])
        async with asyncio.timeout(timeout_s):
            return await host.run(call.api, call.body, call.stream)


@dataclass
class Entry:
    """A running entry: where it is, who may call, what it wrote down, which models run behind it."""

    url: str
    secrets: dict[str, str]
    journal: FakeJournal
    runner: HostRunner
    caller: Caller
    model: TextModel
    clients: list[openai.OpenAI] = field(default_factory=list)

    def client(self, key: str = "studio", **more: Any) -> openai.OpenAI:
        """The official client, as its users make it."""
        usual = {"api_key": self.secrets.get(key, key), "base_url": f"{self.url}/v1", "max_retries": 0, "timeout": 20.0}
        self.clients.append(openai.OpenAI(**{**usual, **more}))
        return self.clients[-1]

    def leave(self) -> None:
        """Close the clients that were made."""
        while self.clients:
            self.clients.pop().close()

    def calls(self, count: int) -> list[dict[str, Any]]:
        """The `call` lines, once there are so many."""
        until = time.monotonic() + START_S
        while len(found := self.journal.of("call")) < count and time.monotonic() < until:
            time.sleep(0.01)
        assert len(found) == count
        return found

    def streams(self, count: int) -> int:
        """How many texts are being made; waits until they are so many, since who hangs up leaves at the next step."""
        until = time.monotonic() + START_S
        while self.model.streams != count and time.monotonic() < until:
            time.sleep(0.01)
        return self.model.streams


@contextmanager
def entry(site: str = "fra", engine: Engine | None = None, **more: Any) -> Iterator[Entry]:
    """Serve an entry of the fleet, with the example's tenants unless told otherwise."""
    engine = engine or Engine(fleet(), load_policies(ROOT / "policies" / "tenants", fleet()))
    issued = [issue(tenant, tenant, "paris") for tenant in engine.policies]
    issued += [issue("hospital.paris", "hospital", "paris")] if "hospital" in engine.policies else []
    issued += [issue("player", "studio", "paris", ("gameplay",))] if "studio" in engine.policies else []
    with text_model(**more) as model, embedder() as vectors:
        at = scene(entry=site, engine=engine)
        runner = HostRunner(fleet(), {"tiny-llama": model, "tiny-embed": vectors})
        at.caller.attempts.runner = runner
        ingress = Ingress(at.caller, Keys(key for key, _ in issued), at.journal, list, emulated=False)
        with served(ingress, site) as url:
            found = Entry(url, {key.id: secret for key, secret in issued}, at.journal, runner, at.caller, model)
            try:
                yield found
            finally:
                found.leave()


@contextmanager
def served(ingress: Ingress, site: str = "fra") -> Iterator[str]:
    """Serve an ingress by uvicorn on loopback, on a thread of its own; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(ingress, lifespan="off", log_level="warning", root_path=f"/{site}")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
