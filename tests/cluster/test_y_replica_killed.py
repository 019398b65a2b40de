"""A replica is killed under load: its calls end in time, elsewhere or with a reason, and the replica comes back."""

import os
import signal
import time

import psutil
import pytest

from infercast.audit import audit
from infercast.policies.engine import Engine
from tests.cluster.live import Live, picture, tensor_body
from tests.cluster.load import Caller, Crowd, Ended

VICTIM = "ray::ServeReplica:fra:squeezenet"
LOAD_BEFORE_S, LOAD_AFTER_S = 1.5, 6.0
CLIENT_MAX_S = 12.0
MARGIN_S = 3.0
"""What a call may take beside its deadline on this machine, where callers and sites share two cores."""
BACK_WITHIN_S = 150.0
"""5 s of quiet, then some 35 probes, until two spreads fit into 200 ms again: 40 s where a probe takes 20 ms, and at 2% of the time
twice or three times that on a machine on which it takes 40 or 60."""
# Caller, tenant, class, entry, origin, deadline by policy.
CALLERS = [
    ("scans", "hospital", "personal", "fra", "paris", 0.2),
    ("slides", "hospital", "open", "fra", "paris", 1.0),
    ("labels", "annotator", "images", "fra", "zurich", 5.0),
]
DEADLINE_S = {name: deadline_s for name, *_, deadline_s in CALLERS}


def victims(live: Live) -> list[psutil.Process]:
    """The processes of the replica."""
    return [
        process for process in live.processes() if process.cmdline()[:1] and process.cmdline()[0].startswith(VICTIM)
    ]


def callers(live: Live) -> list[Caller]:
    """Three callers with pictures for Frankfurt, one of which may go nowhere else."""
    body, header_bytes = tensor_body(live.fleet.cards["squeezenet"].inputs[0].name, picture())
    length = {"inference-header-content-length": str(header_bytes)}
    return [
        Caller(live, name, entry, {**live.headers(tenant, origin, data_class), **length}, body, "vision", CLIENT_MAX_S)
        for name, tenant, data_class, entry, origin, _ in CALLERS
    ]


@pytest.fixture(scope="module")
def crowd(live: Live) -> Crowd:
    """The callers, done, with the replica killed in between."""
    (victim,) = victims(live)
    with Crowd(callers(live)) as crowd:
        time.sleep(LOAD_BEFORE_S)
        os.kill(victim.pid, signal.SIGKILL)
        time.sleep(LOAD_AFTER_S)
    return crowd


@pytest.mark.timeout(330)
@pytest.mark.parametrize("name", DEADLINE_S)
def test_every_call_ends_within_its_deadline(crowd: Crowd, name: str) -> None:
    ended = crowd.of(name)
    assert len(ended) >= 5
    assert [end for end in ended if end.took_s > DEADLINE_S[name] + MARGIN_S] == []
    assert {end.status for end in ended} <= {200, 403, 503, 504}
    assert all(end.ours for end in ended)


def test_who_may_go_elsewhere_is_answered(crowd: Crowd) -> None:
    ended = [*crowd.of("slides"), *crowd.of("labels")]
    answered = [end for end in ended if end.status == 200]
    assert len(answered) >= 0.9 * len(ended)
    assert {"fra", "dub"} <= {end.site for end in answered}


def test_who_may_not_go_elsewhere_does_not(live: Live, crowd: Crowd) -> None:
    ended: list[Ended] = crowd.of("scans")
    assert {end.site for end in ended if end.status == 200} <= {"fra"}
    for end in ended:
        (line,) = live.journal("call", end.id)
        assert set(line["attempts"]) <= {"squeezenet@fra"}


def test_the_journals_hold_to_the_policies(live: Live, crowd: Crowd) -> None:
    found = audit(live.state / "journal", Engine(live.fleet, live.policies))
    assert found.calls >= sum(len(caller.ended) for caller in crowd.callers)
    assert (found.off_policy, found.misplaced, found.ended_twice) == ((), (), ())


@pytest.mark.timeout(BACK_WITHIN_S + 60)
def test_the_replica_comes_back_and_is_used_again(live: Live, crowd: Crowd) -> None:
    body, header_bytes = tensor_body(live.fleet.cards["squeezenet"].inputs[0].name, picture())
    headers = {**live.headers("hospital", "paris", "personal"), "inference-header-content-length": str(header_bytes)}
    until = time.monotonic() + BACK_WITHIN_S
    while (response := live.infer("fra", headers, "vision", body)).status_code != 200:
        assert time.monotonic() < until, response.text
    assert response.headers["infercast-site"] == "fra"
    assert len(victims(live)) == 1
