"""Kept answers in real processes: what may not be kept leaves nothing, many who ask the same are one call, and a restart forgets."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from infercast import system
from infercast.first_keys import ADMIN
from tests.trouble.rig import Rig

CALLERS = 16
CACHE = {"cache": {"ttl_s": 600, "scope": "tenant"}, "fallbacks_max": 0}
"""Nobody is given up for another, however busy the machine is: so each call is one at north."""


def kept(rig: Rig, tenant: str, entry: str = "fra") -> int:
    """How many answers a site's worker keeps of a tenant."""
    secret = system.secret_of(rig.state, ADMIN)
    told = rig.client.get(f"{rig.url(entry)}/admin/v1/status", headers={"authorization": f"Bearer {secret}"}).json()
    return int(told["here"]["kept"].get(tenant, {"answers": 0})["answers"])


def how(answer: Any) -> str | None:
    assert answer.status_code == 200, answer.text
    found: str | None = answer.headers.get("infercast-cache")
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_a_class_that_may_not_be_stored_never_hits_and_leaves_nothing(rig: Rig, *, stream: bool) -> None:
    mark = f"sealed-{stream}"
    with rig.policy("calm", behaviour=CACHE):
        for _ in range(3):
            assert how(rig.chat("calm", data_class="sealed", stream=stream, mark=mark)) is None
        assert rig.north.times(mark) == 3
        assert kept(rig, "calm") == 0
        assert [how(rig.chat("calm", stream=stream, mark=mark)) for _ in range(2)] == ["miss", "hit"]
        assert rig.north.times(mark) == 4
        assert kept(rig, "calm") == 1
        # Not even what is kept for another class of the same tenant.
        assert how(rig.chat("calm", data_class="plain,sealed", stream=stream, mark=mark)) is None
        assert rig.north.times(mark) == 5
    assert kept(rig, "calm") == 0, "without a cache in its policy nothing of it stays"


def test_many_who_ask_the_same_at_once_are_one_call_and_each_has_a_line(rig: Rig) -> None:
    with rig.north.told(after_ms=1500), ThreadPoolExecutor(CALLERS) as crowd:
        asked = [
            crowd.submit(rig.chat, "keeper", "talk", mark="crowd", max_tokens=7, infercast_id=f"crowd-{number}")
            for number in range(CALLERS)
        ]
        answers = [each.result() for each in asked]
    assert sorted(map(str, map(how, answers))) == ["hit"] * (CALLERS - 1) + ["miss"]
    assert rig.north.times("crowd") == 1
    lines = [rig.ended(f"crowd-{number}") for number in range(CALLERS)]
    assert sorted(str(line["cached"]) for line in lines) == ["None"] + ["exact"] * (CALLERS - 1)
    assert sum(line["cost_usd"] > 0 for line in lines) == 1
    assert len({line["decision"] for line in lines}) == CALLERS


def test_similar_questions_are_compared_at_the_entry_and_paid_for(rig: Rig) -> None:
    similar = {"cache": {"ttl_s": 600, "scope": "tenant", "similar": {"model": "embedding", "min_similarity": 0.9}}}
    texts = [f"which way is it to the station on the other side of the river{end}" for end in ("", ".")]
    with rig.policy("calm", behaviour=similar):
        said = [
            rig.chat(
                "calm", "talk", messages=[{"role": "user", "content": text}], mark="near", infercast_id=f"near-{n}"
            )
            for n, text in enumerate(texts)
        ]
        assert [how(answer) for answer in said] == ["miss", "similar"]
        assert rig.north.times("near") == 1
        line = rig.ended("near-1~similar")
        assert (line["deployment"], line["tenant"]) == ("tiny-embed@fra", "calm")
        assert line["cost_usd"] > 0


def test_a_worker_that_starts_anew_has_forgotten(rig: Rig) -> None:
    assert [how(rig.infer("keeper", "score", entry="ams", mark=f"m{n}")) for n in range(2)] == ["miss", "hit"]
    rig.kill("ams")
    rig.well()
    assert kept(rig, "keeper", "ams") == 0
    assert how(rig.infer("keeper", "score", entry="ams")) == "miss"
