"""What a caller sees whose tenant's limits leave no room: in each API's own shape, and before its body where that is known."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import httpx
import openai
import pytest

from infercast.router.conduct.ports import Carried
from infercast.router.runtime.host import Answer
from tests.router.fakes import Door, door
from tests.router.quota.support import accounts_on, engine_of, ledger, running
from tests.router.test_rpc import Entry, at_entry, refused, zeros

INFER = "/v2/models/digits/infer"
HELLO: Any = [{"role": "user", "content": "hello"}]
ONE_CALL = {"requests_per_minute": 1}
NO_MONEY = {"budget_usd_per_day": 0}


def played(scene: Coroutine[Any, Any, None]) -> None:
    """Play a scene, or fail where it hangs."""
    asyncio.run(asyncio.wait_for(scene, 60))


def test_over_a_rate_is_429_with_when_to_come_back_and_the_body_is_not_read() -> None:
    async def scene() -> None:
        with ledger() as store:
            accounts = accounts_on(store, ONE_CALL)
            at = door(engine=engine_of(ONE_CALL), accounts=accounts)
            async with running(accounts):
                assert (await at.exchange("POST", INFER, b"{}")).status == 200
                seen = await at.exchange("POST", INFER, b"{}")
        assert (seen.status, seen.headers["infercast-outcome"]) == (429, "limited")
        left_s = 60 - 1_795_000_000 % 60
        assert seen.headers["retry-after"] == str(left_s)
        assert (
            seen.error == f"the limit is 1 calls a minute, and they are used up (the next minute begins in {left_s} s)"
        )
        assert seen.value["infercast"]["limit"] == "calls"
        again = at.scene.journal.of("call")[-1]
        assert (again["outcome"], again["reason"], again["cost_usd"], again["attempts"]) == (
            "refused",
            "limited",
            0.0,
            [],
        )

    played(scene())


def test_known_to_be_over_it_is_told_before_the_body() -> None:
    async def scene() -> None:
        limits = {"requests_per_minute": 0}
        with ledger() as store:
            at = door(engine=engine_of(limits), accounts=accounts_on(store, limits))
            seen = await at.exchange("POST", INFER, b"{}")
        assert (seen.status, seen.receives) == (429, 0)

    played(scene())


def test_over_a_budget_is_402_with_how_much_it_is_and_when_it_turns() -> None:
    async def scene() -> None:
        limits = {"budget_usd_per_day": 0.000000001}
        with ledger() as store:
            accounts = accounts_on(store, limits)
            at = door(engine=engine_of(limits), accounts=accounts)
            async with running(accounts):
                seen = await at.exchange("POST", INFER, b"{}")
        assert (seen.status, seen.headers["infercast-outcome"]) == (402, "over_budget")
        assert "retry-after" not in seen.headers
        assert "the budget is 0.000000001 USD for the day 2026-11-18 (UTC)" in seen.error
        told = seen.value["infercast"]
        assert (told["budget_usd"], told["per"], told["period"]) == (1e-9, "day", "2026-11-18")
        assert told["ends_s"] == 1_795_000_000 // 86_400 * 86_400 + 86_400
        line = at.scene.journal.only()
        assert (line["outcome"], line["reason"], line["spent"]) == ("refused", "over_budget", [])
        assert at.scene.runner.calls == []

    played(scene())


async def asked(client: openai.AsyncOpenAI, times: int) -> None:
    """Ask for a vector so many times."""
    for _ in range(times):
        await client.embeddings.with_raw_response.create(model="embedding", input="a")


def test_openais_client_raises_what_it_raises_for_openai() -> None:
    async def scene() -> None:
        for limits, error, status, code in (
            (ONE_CALL, openai.RateLimitError, 429, "rate_limit_exceeded"),
            (NO_MONEY, openai.APIStatusError, 402, "insufficient_quota"),
        ):
            with ledger() as store:
                accounts = accounts_on(store, limits, wall_s=time.time)
                at = door(engine=engine_of(limits), accounts=accounts)
                async with running(accounts), httpx.AsyncClient(transport=httpx.ASGITransport(at.ingress)) as http:
                    client = openai.AsyncOpenAI(
                        api_key=at.secrets["studio"], base_url="http://fra/v1", http_client=http, max_retries=0
                    )
                    with pytest.raises(error) as caught:
                        await asked(client, 3)  # a minute may turn in between
                assert isinstance(caught.value, openai.APIStatusError)
                assert (caught.value.status_code, caught.value.code) == (status, code)
                should = "true" if status == 429 else "false"
                told = caught.value.response.headers
                assert told["x-should-retry"] == should
                if status == 429:
                    assert (told["x-ratelimit-limit-requests"], told["x-ratelimit-remaining-requests"]) == ("1", "0")
                    assert told["x-ratelimit-reset-requests"] == f"{told['retry-after']}s"
                else:
                    assert not [name for name in told if name.startswith("x-ratelimit")]

    played(scene())


def test_of_tokens_the_limit_is_told_and_not_how_many_are_left() -> None:
    async def scene() -> None:
        limits = {"tokens_per_minute": 100}
        with ledger() as store:
            accounts = accounts_on(store, limits)
            at = door(engine=engine_of(limits), accounts=accounts)
            async with running(accounts):
                chat = b'{"model":"chat","messages":[],"max_tokens":200}'
                seen = await at.exchange("POST", "/v1/chat/completions", chat)
        assert seen.status == 429
        rates = {name: value for name, value in seen.headers.items() if name.startswith("x-ratelimit")}
        assert rates == {
            "x-ratelimit-limit-tokens": "100",
            "x-ratelimit-reset-tokens": f"{seen.headers['retry-after']}s",
        }

    played(scene())


def test_over_grpc_it_is_resource_exhausted() -> None:
    with ledger() as store:
        accounts = accounts_on(store, {"requests_per_minute": 0}, wall_s=time.time)

        async def body(entry: Entry) -> None:
            async with running(accounts), entry.client() as client:
                status, message = await refused(client.infer("digits", [zeros()], headers=entry.told()))
            assert status == "RESOURCE_EXHAUSTED"
            assert "the limit is 0 calls a minute" in message

        at_entry(body, accounts=accounts)


def text_door(limits: dict[str, Any], accounts: Any) -> tuple[Door, list[Carried]]:
    """An entry whose texts are answered at once, and the calls as they arrived where they ran."""
    at, came = door(engine=engine_of(limits), accounts=accounts), []
    plain = at.scene.runner.run

    async def run(deployment: int, call: Carried, timeout_s: float) -> Answer:
        came.append(call)
        return await plain(deployment, call, timeout_s)

    at.scene.runner.run = run  # type: ignore[method-assign]
    return at, came


def test_an_answer_may_be_as_long_as_the_policy_says() -> None:
    async def scene() -> None:
        limits = {"completion_tokens_max": 50, "per_model": {"chat": {"completion_tokens_max": 20}}}
        with ledger() as store:
            at, came = text_door(limits, accounts_on(store, limits))
            chat = b'{"model":"chat","messages":[]}'
            assert (await at.exchange("POST", "/v1/chat/completions", chat)).status == 200
            assert came[0].tokens_max == 20
            assert came[0].body == b'{"model":"chat","messages":[],"max_tokens":20}'
            more = b'{"model":"chat","messages":[],"max_tokens":21}'
            seen = await at.exchange("POST", "/v1/chat/completions", more)
            assert seen.status == 400
            assert seen.value["error"]["param"] == "max_tokens"
            assert "this tenant's policy lets an answer have 20 tokens" in seen.value["error"]["message"]

    played(scene())


def test_an_answer_says_what_it_has_really_cost() -> None:
    async def scene() -> None:
        with ledger() as store:
            accounts = accounts_on(store, {"budget_usd_per_day": 1})
            at, _ = text_door({"budget_usd_per_day": 1}, accounts)
            async with running(accounts):
                seen = await at.exchange("POST", INFER, b"{}")
                line = at.scene.journal.only()
                assert float(seen.headers["infercast-cost-usd"]) == line["cost_usd"] > 0
                assert [[place, cost] for place, cost in line["spent"]] == [
                    [line["deployment"], round(line["cost_usd"] * 1e9)]
                ]

    played(scene())
