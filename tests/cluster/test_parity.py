"""One engine: what the live system did is what the same files say on paper, and its journals hold to the policies."""

import pytest

from infercast.audit import audit
from infercast.policies.engine import Engine
from infercast.policies.fleet import Fleet
from infercast.policies.model import STATIC_RULES, Rule
from infercast.policies.policy import Policy
from infercast.replay import redecide_all
from infercast.router.telemetry.log_reader import Found, every
from tests.cluster.live import CAMERA, Live
from tests.sim.replaying import unlike

# Tenant, class, entry, origin of the key.
CALLS = [
    ("hospital", "personal", "fra", "paris"),
    ("hospital", "personal", "dub", "paris"),
    ("hospital", "personal", "dub", "berlin"),
    ("hospital", "personal", "iad", "newyork"),
    ("hospital", "personal", CAMERA, CAMERA),
    ("hospital", "biometric", CAMERA, CAMERA),
    ("hospital", "biometric", "fra", CAMERA),
    ("hospital", "open", "sin", "tokyo"),
    ("hospital", None, "fra", "paris"),
    ("studio", "gameplay", "iad", "newyork"),
    ("studio", "replays", "gru", "saopaulo"),
    ("studio", "minors", "gru", "saopaulo"),
    ("annotator", "images", "gru", "saopaulo"),
    ("annotator", "sealed", "fra", "zurich"),
    ("annotator", "sealed", "sin", "singapore"),
    ("bank", "ledger", "fra", "zurich"),
    ("bank", "ledger", "dub", "berlin"),
    ("bank", "identity", "fra", "berlin"),
    ("bank", "identity", "dub", "zurich"),
]
IDS = ["-".join(str(part) for part in call) for call in CALLS]


@pytest.mark.parametrize(("tenant", "data_class", "entry", "origin"), CALLS, ids=IDS)
def test_a_call_runs_where_the_engine_allows_on_paper(
    live: Live, tenant: str, data_class: str | None, entry: str, origin: str
) -> None:
    paper = live.on_paper(tenant, entry, origin, data_class=data_class)
    allowed = {verdict.deployment for verdict in paper.verdicts if verdict.rule is Rule.NONE}
    call = f"parity-{tenant}-{data_class}-{entry}-{origin}"
    response = live.infer(entry, {**live.headers(tenant, origin, data_class), "infercast-id": call})
    # What was repeated, because this machine was too busy for its deadline, has a line for each time.
    lines = live.journal("call", call)
    assert {line["entry"] for line in lines} == {entry}
    assert (response.status_code == 200) == bool(allowed)
    assert lines[-1]["outcome"] == ("answered" if allowed else "refused")
    assert lines[-1]["deployment"] in allowed or (not allowed and lines[-1]["deployment"] is None)
    assert {name for line in lines for name in line["attempts"]} <= allowed
    if paper.entries or not allowed:
        assert response.status_code in (403, 421)


@pytest.mark.parametrize(("tenant", "data_class", "entry", "origin"), CALLS, ids=IDS)
def test_what_files_alone_veto_is_vetoed_alike_live_and_on_paper(
    live: Live, tenant: str, data_class: str | None, entry: str, origin: str
) -> None:
    paper = live.on_paper(tenant, entry, origin, data_class=data_class)
    asked = {"class": data_class} if data_class else {}
    told = live.decide(entry, live.headers(tenant, origin), **asked).json()
    words = {rule.word for rule in STATIC_RULES if rule}
    there = {verdict["deployment"]: verdict["rule"] for verdict in told["verdicts"] if verdict["rule"] in words}
    here = {v.deployment: v.rule.word for v in paper.verdicts if v.rule.word in words}
    assert there == here
    assert tuple(told["entries"]) == paper.entries
    assert (told["policy_digest"], told["fleet_digest"]) == (paper.policy_digest, paper.fleet_digest)


def test_the_journals_of_all_places_hold_to_the_policies(live: Live) -> None:
    found = audit(live.state / "journal", Engine(live.fleet, live.policies))
    assert found.calls >= len(CALLS)
    assert found.payload_bytes > 0
    assert (found.off_policy, found.misplaced, found.ended_twice) == ((), (), ())


def test_the_whole_log_is_decided_again_alike(live: Live) -> None:
    """Every decision that any place has logged until now: by the engine, and by the simulator's compiled loop."""
    log = live.state / "decisions"
    done = redecide_all(log)
    assert done.decisions >= len({call for call in CALLS if call[0] != "hospital"})
    assert (done.differing, done.pruned) == ({}, 0)
    by_policy: dict[str, list[Found]] = {}
    for found in every(log):
        if found is not None:
            by_policy.setdefault(found.decision["policy"], []).append(found)
    for records in by_policy.values():
        fleet, policy = Fleet.model_validate(records[0].fleet), Policy.model_validate(records[0].policy)
        assert unlike(fleet, policy, [(found.decision, found.snapshot) for found in records]) == []
