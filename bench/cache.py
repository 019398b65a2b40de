"""What kept answers are worth, and what they cost: `python bench/cache.py [--calls 3600] [--embedder FOLDER]`.

First the thread's time of calls through a site worker's own parts (as in `bench/call_path.py`): without a cache in the policy,
missed and kept, found, and found by an embedding. Then how well vectors tell questions that ask the same from those
that only sound alike (`bench/cache_pairs.py`): by the example fleet's tiny embedder, whose weights are random, and by a
real one where `--embedder` names its folder (as Hugging Face has sentence-transformers/all-MiniLM-L6-v2, Apache-2.0).
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from bench.cache_encoder import Floats, SentenceEncoder  # noqa: E402 - the root had to come first
from bench.cache_pairs import ALIKE, SAME  # noqa: E402
from bench.call_path import ROUNDS, Worker, alone_us, answered, scope_of, whole_us  # noqa: E402
from bench.serve_world import ENTRY, TENANT, Body, json_body  # noqa: E402
from infercast.policies.engine import Engine  # noqa: E402
from infercast.policies.parts import Cache  # noqa: E402
from infercast.policies.policy import Policy  # noqa: E402
from infercast.router.api import Api  # noqa: E402
from infercast.router.cache.answers import AnswerCache  # noqa: E402
from infercast.router.cache.embedding import Embedding  # noqa: E402
from infercast.router.cache.store import Kept, Key  # noqa: E402
from infercast.router.cache.vectors import SpaceKey, Vectors  # noqa: E402
from infercast.router.conduct.open import KeepsNothing  # noqa: E402
from infercast.router.conduct.ports import Carried  # noqa: E402
from infercast.router.openai.host import LanguageHost  # noqa: E402
from infercast.router.runtime.host import Answer  # noqa: E402
from tests.router.cache.scenes import At, at_entry, engine_with, policy_of  # noqa: E402
from tests.router.openai.tiny import embedder, fleet, text_model  # noqa: E402

LEASTS = (0.85, 0.9, 0.95, 0.97, 0.99)
VECTORS = (100, 1_000, 10_000)
DIMENSIONS = 384


def tensors(folder: Path, calls: int) -> list[tuple[str, float]]:
    """Return the thread's time of a digit's call, in µs, by what becomes of it."""
    worker = Worker(folder)
    try:
        return asyncio.run(_tensors(worker, calls))
    finally:
        worker.close()


async def _tensors(worker: Worker, calls: int) -> list[tuple[str, float]]:
    same = json_body()
    scope = scope_of(same, worker.secret)
    found = [
        ("no cache in the policy, nothing wired", await whole_us(lambda: answered(worker, scope, same.content), calls))
    ]
    _keeps(worker, None)
    found.append(("no cache in the policy", await whole_us(lambda: answered(worker, scope, same.content), calls)))
    _keeps(worker, Cache(ttl_s=3600, scope="tenant"))
    others = _others(same, calls + ROUNDS)
    missed = [(scope_of(body, worker.secret), body.content) for body in others]
    each = iter(missed)

    async def miss() -> bytes:
        return await answered(worker, *next(each))

    found.append(("missed, and kept", await whole_us(miss, calls)))
    await answered(worker, scope, same.content)
    found.append(("found", await whole_us(lambda: answered(worker, scope, same.content), calls)))
    scope["headers"].append((b"cache-control", b"no-store"))
    found.append(("`no-store`", await whole_us(lambda: answered(worker, scope, same.content), calls)))
    return found


def _keeps(worker: Worker, cache: Cache | None) -> None:
    policy: Policy = worker.engine.policies[TENANT]
    behaviour = policy.behaviour.model_copy(update={"cache": cache})
    engine = Engine(worker.fleet, {TENANT: policy.model_copy(update={"behaviour": behaviour})})
    engine.warm(ENTRY, [ENTRY], int(time.time()))
    worker.caller.cache = AnswerCache(worker.caller.deciding)
    worker.caller.install(engine, None)


def _others(body: Body, count: int) -> list[Body]:
    """Return bodies that each ask something else."""
    value = orjson.loads(body.content)
    data = value["inputs"][0]["data"]
    found = []
    for number in range(count):
        data[0] = number
        found.append(Body(orjson.dumps(value), None))
    return found


def covers_ns(calls: int = 1_000_000) -> dict[str, float]:
    """Return what each call pays to be told that it has no cache."""
    at = at_entry(engine_with(policy_of(cache=None)))
    call = Carried(_request(), b"", None)
    return {
        "a worker's": _ns(at.cache.covers, call, calls),
        "where nothing is ever kept": _ns(KeepsNothing().covers, call, calls),
    }


def _request() -> Any:
    from tests.router.fakes import ask

    return ask(tenant="t", classes=("plain",))


def _ns(covers: Any, call: Carried, calls: int) -> float:
    return 1000 * alone_us(lambda: covers(call), calls) - 1000 * alone_us(lambda: None, calls)


def chats(tokens: int) -> list[tuple[str, float]]:
    """Return the time in ms from a chat's call to its answer, as the wall has it: medians of 40."""
    similar = {"similar": {"model": "embedding", "min_similarity": 0.9}}
    at = at_entry(engine_with(policy_of(cache={**similar, "ttl_s": 3600}), fleet=fleet()))
    caller = at.scene.caller
    at.cache._embedding = Embedding("fra", fleet(), caller.beside)  # noqa: SLF001 - put together here
    with text_model() as model, embedder() as vectors:
        hosts = {
            "tiny-llama": LanguageHost("tiny-llama", "fra", model),
            "tiny-embed": LanguageHost("tiny-embed", "fra", vectors),
        }

        class Runner:
            async def run(self, deployment: int, call: Carried, timeout_s: float) -> Answer:
                return await hosts[fleet().deployments[deployment].variant].run(call.api, call.body, call.stream)

        caller.attempts.runner = Runner()
        return asyncio.run(_chats(at, tokens))


async def _chats(at: At, tokens: int) -> list[tuple[str, float]]:
    async def one(text: str, **headers: Any) -> tuple[str, float]:
        body = {"model": "chat", "messages": [{"role": "user", "content": text}], "max_tokens": tokens}
        began_s = time.perf_counter()
        told = await at.door.exchange(
            "POST", "/v1/chat/completions", orjson.dumps(body), "t", infercast_class="plain", **headers
        )
        return told.headers.get("infercast-cache", "not kept"), 1000 * (time.perf_counter() - began_s)

    times: dict[str, list[float]] = {}
    for number in range(40):
        said = f"what is the weather in place {number}"  # with a number of its own it is like no other
        for text, headers in ((said, {"cache_control": "no-store"}), (said, {}), (said, {}), (f"{said}?", {})):
            how, took_ms = await one(text, **headers)
            times.setdefault(how, []).append(took_ms)
    return [(how, float(np.median(took))) for how, took in times.items()]


def searches_us() -> Iterator[tuple[int, float]]:
    """Yield how long it takes to find the nearest of so many vectors, in µs."""
    dice = np.random.default_rng(1)
    key = Key("t", "", (), "m", "", Api.CHAT, False, b"")
    space = SpaceKey(key, b"", "e")
    for count in VECTORS:
        vectors = Vectors()
        drawn = dice.normal(size=(count, DIMENSIONS)).astype(np.float32)
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        for number in range(count):
            kept = Kept(key._replace(digest=b"%d" % number), _request(), "d", "v", "s", b"", None, None, 0, 1)
            vectors.add(space, drawn[number], kept)
        each = iter(range(10**9))
        yield count, alone_us(lambda v=vectors, d=drawn, e=each, n=count: v.nearest(space, d[next(e) % n]), 900)  # type: ignore[misc]


def similarities(vectors_of: Any, pairs: Sequence[tuple[str, str]]) -> Floats:
    """Return the cosine of each pair."""
    return np.array([float(np.dot(*vectors_of(pair))) for pair in pairs], np.float32)


def quality(name: str, vectors_of: Any) -> None:
    """Print how many pairs would be taken for the same, by the least similarity."""
    same, alike = similarities(vectors_of, SAME), similarities(vectors_of, ALIKE)
    for least in LEASTS:
        print(
            f"| {name} | {least} | {(same >= least).sum()} of {len(SAME)} | {(alike >= least).sum()} of {len(ALIKE)} |"
        )


def main() -> None:
    """Measure, and print tables."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--calls", type=int, default=3600)
    words.add_argument("--tokens", type=int, default=32, help="how long the chats' answers are")
    words.add_argument("--embedder", type=Path, help="folder of a real sentence embedder")
    given = words.parse_args()
    print("| a digit's call: µs of the worker's thread | |\n|---|--:|")
    with tempfile.TemporaryDirectory() as folder:
        for name, took_us in tensors(Path(folder), given.calls):
            print(f"| {name} | {took_us:.1f} |")
    for name, took_ns in covers_ns().items():
        print(f"| of it, to ask whether there is a cache ({name}) | {took_ns / 1000:.2f} |")
    print(f"\n| a chat of {given.tokens} tokens: ms until it is answered | |\n|---|--:|")
    for name, took_ms in chats(given.tokens):
        print(f"| {name} | {took_ms:.2f} |")
    print("\n| the nearest of so many vectors | µs |\n|---|--:|")
    for count, took_us in searches_us():
        print(f"| {count} | {took_us:.0f} |")
    print("\n| embedder | least similarity | same, and found | only alike, and taken for the same |\n|---|--:|--:|--:|")
    with embedder() as tiny:
        quality("tiny-embed (random weights)", lambda pair: asyncio.run(tiny.embed(pair))[0])
    if given.embedder:
        quality(given.embedder.name, SentenceEncoder(given.embedder).vectors)


if __name__ == "__main__":
    main()
