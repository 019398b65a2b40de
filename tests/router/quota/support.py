"""Accounts on a real ledger, and a way to run them beside calls."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infercast.policies.engine import Engine
from infercast.policies.policy import Policy
from infercast.policies.units import nusd
from infercast.router.api import Api
from infercast.router.conduct.endings import Carrying
from infercast.router.conduct.ports import Carried, Hold
from infercast.router.ledger.opening import open_store
from infercast.router.ledger.ports import Entry
from infercast.router.ledger.store import SqlStore
from infercast.router.quota.accounts import Ledgered
from tests.router.fakes import WALL_S, FakeJournal, ask, example_fleet

HOLDER = "fra-1-aa-"


def policies_of(limits: Mapping[str, Any], **more: Any) -> dict[str, Policy]:
    """A tenant with limits, and one without."""
    raw = {"version": 1, "classes": {"gameplay": {}, "images": {}}}
    limited = Policy.model_validate({**raw, "tenant": "studio", "limits": dict(limits), **more})
    return {"studio": limited, "free": Policy.model_validate({**raw, "tenant": "free"})}


def engine_of(limits: Mapping[str, Any], **more: Any) -> Engine:
    """An engine for them."""
    return Engine(example_fleet(), policies_of(limits, **more))


@contextmanager
def ledger() -> Iterator[SqlStore]:
    """A ledger of its own."""
    with TemporaryDirectory() as folder:
        store = open_store(f"sqlite:///{Path(folder).resolve()}/ledger.db")
        try:
            yield store
        finally:
            store.close()


def accounts_on(
    store: Any,
    limits: Mapping[str, Any],
    holder: str = HOLDER,
    journal: FakeJournal | None = None,
    wall_s: Callable[[], float] = lambda: WALL_S,
) -> Ledgered:
    """The accounts of an ingress."""
    return Ledgered(example_fleet(), policies_of(limits), lambda: store, holder, journal or FakeJournal(), wall_s)


@asynccontextmanager
async def running(accounts: Ledgered) -> AsyncIterator[Ledgered]:
    """Let the accounts talk to their ledger meanwhile. Raises what ended that."""
    task = asyncio.create_task(accounts.run())
    try:
        yield accounts
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


def call_of(body: bytes = b"{}", tokens_max: int | None = None, api: Api = Api.INFER, **parts: Any) -> Carried:
    """A call of the tenant with limits."""
    request = replace(ask(at_s=WALL_S, **parts), payload_bytes=len(body))
    return Carried(request, body, None, api, tokens_max=tokens_max)


def carrying_of(call: Carried, number: str = f"{HOLDER}1") -> Carrying:
    """What is known of it."""
    return Carrying(call.request, number, 0)


async def opened(accounts: Ledgered, call: Carried, number: str = f"{HOLDER}1", hops: tuple[str, ...] = ()) -> Hold:
    """Let a call through. Raises Trouble."""
    found = accounts.open(call, replace(carrying_of(call, number), hops=hops))
    return await found if asyncio.iscoroutine(found) else found  # type: ignore[return-value]


async def reserved(hold: Hold, aside_nusd: int) -> None:
    """Set money aside for a try. Raises Trouble."""
    waiting = hold.reserve(aside_nusd)
    if waiting is not None:
        await waiting


def entry_of(number: str, cost_nusd: int, model: str = "digits", at_s: float = WALL_S, tenant: str = "studio") -> Entry:
    """A call as the settler takes it over."""
    return Entry(number, 0, at_s, tenant, model, "fra", "fra", "digits-small@fra", "answered", "settled", cost_nusd)


USD = nusd(1)
