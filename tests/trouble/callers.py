"""Callers of all kinds side by side, drawn from a seed, and how each of their calls ended as they saw it."""

import json
import random
import threading
from dataclasses import dataclass, field
from typing import Self

import httpx

from infercast.policies.units import nusd
from tests.cluster.live import ONE_IMAGE, picture, tensor_body
from tests.trouble import world
from tests.trouble.rig import CLIENT_S, HELLO, Rig

KINDS = {
    "digits": ("infer", "digits", 5),
    "vision": ("infer", "vision", 1),
    "score": ("infer", "score", 4),
    "chat": ("chat", "chat", 2),
    "talk": ("chat", "talk", 4),
    "embedding": ("embed", "embedding", 3),
    "vector": ("embed", "vector", 3),
}
"""What is called: by which API, which model, how often beside the others."""
TENANTS = {"calm": 4, "bold": 4, "keeper": 3, "poor": 2}
CLASSES = {"plain": 5, "named": 2, "european": 2, "sealed": 1}
STREAMED, LEFT = 0.5, 0.1
"""The share of chats that is streamed, and of those the share whose caller hangs up after the first piece."""
TEXTS = 50
"""So many different texts are asked about: some come again, and may be answered from what is kept."""
SAID_BYTES = 400
PATHS = {"chat": "/v1/chat/completions", "embed": "/v1/embeddings"}
PICTURE, PICTURE_HEAD_BYTES = tensor_body("image", picture())


@dataclass(frozen=True)
class Ended:
    """How a call ended. `status` 0: the connection ended; -1: the caller waited in vain."""

    id: str
    tenant: str
    entry: str
    data_class: str
    model: str
    status: int
    ours: bool = False
    """Whether it was a site of ours that answered, and not the proxy before it."""
    cost_nusd: int = 0
    """What its answer says that it costs."""
    streamed: bool = False
    """Then the header says what is foretold; what is booked comes of the tokens that were told or counted at its end."""
    said: str = ""
    """The beginning of what was answered instead of an answer."""


@dataclass
class Caller:
    """One caller, in a thread of its own."""

    rig: Rig
    name: str
    dice: random.Random
    pause_s: float
    """The mean of the times between an answer and the next call."""
    tenants: dict[str, int] = field(default_factory=lambda: TENANTS)
    ended: list[Ended] = field(default_factory=list)
    _headers: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)

    def work(self, stop: threading.Event) -> None:
        """Call until told to stop."""
        with httpx.Client(timeout=CLIENT_S) as client:
            while not stop.wait(self.dice.expovariate(1 / self.pause_s) if self.pause_s else 0.0):
                self.ended.append(self._call(client, f"{self.name}.{len(self.ended)}"))

    def _told(self, tenant: str, data_class: str) -> dict[str, str]:
        """The key's secret is read from a file: once for each."""
        if (tenant, data_class) not in self._headers:
            self._headers[tenant, data_class] = self.rig.headers(tenant, data_class)
        return self._headers[tenant, data_class]

    def _call(self, client: httpx.Client, call: str) -> Ended:
        api, model, _ = KINDS[_drawn(self.dice, {name: often for name, (*_, often) in KINDS.items()})]
        tenant, data_class = _drawn(self.dice, self.tenants), _drawn(self.dice, CLASSES)
        entry = self.dice.choice(world.OWN)
        facts = (call, tenant, entry, data_class, model)
        stream = api == "chat" and self.dice.random() < STREAMED
        leaves = stream and self.dice.random() < LEFT
        text = f"text {self.dice.randrange(TEXTS)}"
        body = _body(api, model, call, text, stream)
        url = f"{self.rig.url(entry)}{PATHS.get(api, f'/v2/models/{model}/infer')}"
        headers = {**self._told(tenant, data_class), "infercast-id": call}
        if model == "vision":
            headers["inference-header-content-length"] = str(PICTURE_HEAD_BYTES)
        try:
            with client.stream("POST", url, content=body, headers=headers) as answer:
                pieces = answer.iter_bytes()
                first = next(pieces, b"")
                if not leaves:
                    for _ in pieces:
                        pass
        except httpx.TimeoutException:
            return Ended(*facts, -1)
        except httpx.HTTPError:
            return Ended(*facts, 0)
        told = answer.headers
        ours = any(name.startswith("infercast-") for name in told)
        cost_nusd = nusd(told.get("infercast-cost-usd", "0"))
        said = "" if answer.is_success else first[:SAID_BYTES].decode("utf-8", "replace")
        return Ended(*facts, answer.status_code, ours, cost_nusd, stream, said)


class Crowd:
    """Several callers at once."""

    def __init__(self, rig: Rig, seed: int, callers: int, pause_s: float, prefix: str = "c",
                 tenants: dict[str, int] | None = None) -> None:  # fmt: skip
        self.callers = [
            Caller(
                rig, f"{prefix}{seed}-{number}", random.Random(f"{seed} {prefix} {number}"), pause_s, tenants or TENANTS
            )
            for number in range(callers)
        ]
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=caller.work, args=(self._stop,)) for caller in self.callers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def ended(self) -> list[Ended]:
        """How all calls ended until now."""
        return [end for caller in self.callers for end in caller.ended]


def _drawn(dice: random.Random, often: dict[str, int]) -> str:
    (found,) = dice.choices(list(often), list(often.values()))
    return found


def _body(api: str, model: str, mark: str, text: str, stream: bool) -> bytes:
    if api == "infer":
        return PICTURE if model == "vision" else json.dumps({**ONE_IMAGE, "id": mark}).encode()
    if api == "embed":
        return json.dumps({"model": model, "input": text, "user": mark}).encode()
    messages = [*HELLO, {"role": "user", "content": text}]
    return json.dumps({"model": model, "messages": messages, "max_tokens": 8, "stream": stream, "user": mark}).encode()
