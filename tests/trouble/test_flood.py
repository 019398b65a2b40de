"""A flood and a drain upon the running system: who is calm is neither refused nor queued behind a flood; a drained site ends what it has."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from threading import Event

import httpx

from infercast import system
from tests.trouble.rig import CLIENT_S, Raw, Rig, until

FLOOD_CALLERS = 24
"""Three times the room that a replica of `vision` and its queue have."""
CALM_CALLS = 25
IMAGE = b'{"inputs":[{"name":"image","datatype":"FP32","shape":[1,3,224,224],"data":[%s]}]}' % b",".join(
    [b"0"] * 150528
)
"""A picture of zeros, as `vision` takes it."""
PATIENT: Raw = {"behaviour": {"fallbacks_max": 0}, "always": {"deadline_ms": 60_000}}
"""A policy by which a call waits for its first candidate alone, for as long as a test takes."""


@contextmanager
def flooding(rig: Rig, model: str = "vision") -> Iterator[list[httpx.Response]]:
    """Let one tenant send more calls than there is room for, each caller its next one as soon as the last has ended.

    Yields what they are answered, as it comes. Each call has a connection of its own: where a call is refused before its body was
    read, the connection may be closed behind the answer, and a calm caller's next call there would be lost.
    """
    over, answers = Event(), list[httpx.Response]()
    limits = httpx.Limits(max_keepalive_connections=0)

    with httpx.Client(timeout=CLIENT_S, limits=limits) as client, ThreadPoolExecutor(FLOOD_CALLERS) as callers:
        flooder = replace(rig, client=client)

        def flood() -> None:
            while not over.is_set():
                answers.append(flooder.infer("flooder", model, body=IMAGE))

        for _ in range(FLOOD_CALLERS):
            callers.submit(flood)
        try:
            until(lambda: any(answer.status_code == 503 for answer in answers), "the flood finds no room")
            yield answers
        finally:
            over.set()


def test_a_flood_is_refused_its_own_calls_and_a_calm_tenant_s_are_not_queued_behind_it(rig: Rig) -> None:
    with flooding(rig) as answers:
        for number in range(CALM_CALLS):
            answer = rig.infer("calm", "vision", body=IMAGE, infercast_id=f"calm-{number}")
            assert answer.status_code == 200, answer.text
    statuses = {answer.status_code for answer in answers}
    assert {200, 503} <= statuses <= {200, 503, 504}  # the last where the machine is slow
    refused = next(answer for answer in answers if answer.status_code == 503)
    assert refused.headers["infercast-outcome"] == "saturated"
    assert int(refused.headers["retry-after"]) >= 1
    calm = [rig.ended(f"calm-{number}") for number in range(CALM_CALLS)]
    flood = rig.lines(tenant="flooder", outcome="answered", entry="fra")
    there, before = 0, 0
    for line in calm:  # most of them never wait: then nobody begins before them
        came = line["at"] - line["took_us"] / 1e6
        turn = came + line["queued_us"] / 1e6
        # Those of the flood that were in the queue when it came. When one begins is not written down: when it ended, less
        # what it ran, is no earlier than that.
        began = [
            other["at"] - other["ran_us"] / 1e6
            for other in flood
            if other["deployment"] == line["deployment"] and other["at"] - other["took_us"] / 1e6 < came
        ]
        there += sum(at > came for at in began)
        before += sum(came < at < turn for at in began)
    # First come, first served would let all of them go before.
    assert there >= CALM_CALLS, "no flood was in the queue"
    assert 2 * before <= there, (before, there)


def drain(rig: Rig, site: str, what: str = "drain") -> Raw:
    """Do as the platform team does."""
    secret = system.secret_of(rig.state, "admin")
    url = f"{rig.url('fra')}/admin/v1/sites/{site}/{what}"
    told = rig.client.post(url, headers={"authorization": f"Bearer {secret}"})
    assert told.status_code == 200, told.text
    return dict(told.json())


def lives(rig: Rig, site: str) -> bool:
    """Whether a site's entry says that it lives; while its worker is not there yet, nobody says anything."""
    try:
        return rig.client.get(f"{rig.url(site)}/v2/health/live").status_code == 200
    except httpx.TransportError:
        return False


def verdict(rig: Rig, deployment: str) -> Raw:
    """What an entry thinks of a deployment."""
    verdicts = rig.decide("calm", "digits")["verdicts"]
    (found,) = (verdict for verdict in verdicts if verdict["deployment"] == deployment)
    return dict(found)


def test_a_drained_site_ends_its_calls_takes_no_new_ones_and_stays_so_when_its_worker_is_killed(rig: Rig) -> None:
    def refuses() -> bool:
        return rig.infer("calm", entry="ams").status_code == 503

    with ThreadPoolExecutor(1) as caller, rig.policy("calm", **PATIENT):
        try:
            with rig.north.told(does="wait"):
                slow = caller.submit(rig.chat, "calm", "talk", "ams", stream=True, mark="slow")
                until(lambda: rig.north.times("slow"), "a stream is under way")
                assert drain(rig, "ams") == {"site": "ams", "drained": True}
                until(refuses, "ams has heard of it")
                assert not slow.done()
            assert slow.result().text.rstrip().endswith("[DONE]")  # begun before, and ended
            refused = rig.infer("calm", entry="ams")
            assert refused.headers["infercast-outcome"] == "unavailable"
            assert set(refused.json()["infercast"]["entries"]) == {"fra", "dub"}
            until(lambda: verdict(rig, "digits-small@ams")["rule"] == "health", "fra has heard of it")
            assert verdict(rig, "digits-small@ams")["detail"] == "not healthy: drained by its operator"
            assert rig.infer("calm").headers["infercast-site"] != "ams"
            rig.kill("ams")
            until(lambda: lives(rig, "ams"), "ams is back")
            assert refuses()
        finally:
            drain(rig, "ams", "undrain")
        until(lambda: not refuses(), "ams takes calls again")
    rig.well()
    assert rig.infer("calm", entry="ams").status_code == 200
