"""Callers at work side by side, each one call after the other, and how every call of theirs ended."""

import threading
import time
from dataclasses import dataclass, field
from typing import Self

import httpx

from tests.cluster.live import Live

PAUSE_S = 0.05


@dataclass(frozen=True)
class Ended:
    """How one call ended, as its caller saw it. `status` 0: the connection ended; -1: the client's own limit passed."""

    id: str
    began_s: float
    took_s: float
    status: int
    site: str = ""
    attempts: int = 0
    ours: bool = False


@dataclass
class Caller:
    """One caller, in a thread of its own, until told to stop."""

    live: Live
    name: str
    entry: str
    headers: dict[str, str]
    body: bytes
    model: str
    patience_s: float
    ended: list[Ended] = field(default_factory=list)

    def work(self, stop: threading.Event) -> None:
        """Call until told to stop."""
        with httpx.Client(timeout=self.patience_s) as client:
            while not stop.is_set():
                self.ended.append(self._call(client, f"{self.name}-{len(self.ended)}"))
                time.sleep(PAUSE_S)

    def _call(self, client: httpx.Client, call: str) -> Ended:
        began_s = time.monotonic()
        url = f"{self.live.url(self.entry)}/v2/models/{self.model}/infer"
        try:
            response = client.post(url, content=self.body, headers={**self.headers, "infercast-id": call})
        except httpx.TimeoutException:
            return Ended(call, began_s, time.monotonic() - began_s, -1)
        except httpx.HTTPError:
            return Ended(call, began_s, time.monotonic() - began_s, 0)
        told = response.headers
        ours = any(name.startswith("infercast-") for name in told)
        site, attempts = told.get("infercast-site", ""), int(told.get("infercast-attempts", 0))
        return Ended(call, began_s, time.monotonic() - began_s, response.status_code, site, attempts, ours)


class Crowd:
    """Several callers at once."""

    def __init__(self, callers: list[Caller]) -> None:
        self.callers = callers
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=caller.work, args=(self._stop,)) for caller in callers]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def of(self, prefix: str) -> list[Ended]:
        """What came of the callers whose name begins so."""
        return [end for caller in self.callers if caller.name.startswith(prefix) for end in caller.ended]
