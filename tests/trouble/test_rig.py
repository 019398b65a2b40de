"""The rig itself: what its faults do to the system is what they are named for, and all is well again afterwards."""

import time

import pytest

from tests.trouble.clock import Clock
from tests.trouble.rig import Rig, until

HOUR_S = 3600.0


def test_every_kind_of_call_is_answered_where_it_is_cheapest(rig: Rig) -> None:
    def goes_north() -> bool:  # on a busy machine it may be given up for the other one
        return bool(rig.infer("calm", "score", mark="here").headers.get("infercast-site") == "north-tensors")

    assert rig.infer("calm").status_code == 200
    until(goes_north, "it is answered in the north")
    assert rig.north.times("here") >= 1
    assert rig.embed("calm").status_code == rig.embed("calm", "vector").status_code == 200
    assert rig.chat("calm", "chat").status_code == rig.chat("calm", "talk").status_code == 200
    streamed = rig.chat("calm", "talk", stream=True, infercast_id="streamed")
    assert streamed.text.rstrip().endswith("[DONE]")
    assert rig.ended("streamed")["attempts"][0] == "talker@north-text"


@pytest.mark.parametrize("fault", ["cut", "parted", "hung"])
def test_an_upstream_that_is_out_of_reach_is_told_apart_and_the_call_goes_on(rig: Rig, fault: str) -> None:
    with getattr(rig.north, fault)():
        answer = rig.infer("calm", "score", infercast_id=f"out-{fault}")
        assert answer.status_code == 200, answer.text
    assert rig.ended(f"out-{fault}")["deployment"] == "scorer@south-tensors"


def test_a_worker_is_killed_and_comes_back(rig: Rig) -> None:
    (before,) = rig.replicas("ams")
    rig.kill("ams")
    assert rig.infer("calm", entry="fra").status_code == 200
    rig.well()
    (after,) = rig.replicas("ams")
    assert after.pid != before.pid


def test_a_site_that_is_parted_is_no_candidate_until_it_is_heard_of_again(rig: Rig) -> None:
    with rig.parted("dub"):
        until(lambda: rig.decide("calm", "vision", "fra")["chosen"] == "squeezenet@fra", "dub is not chosen")
        until(
            lambda: (
                {v["deployment"]: v["rule"] for v in rig.decide("calm", "digits", "fra")["verdicts"]}[
                    "digits-large@dub"
                ]
                != "none"
            ),
            "dub is not well",
        )
    rig.well()
    assert rig.decide("calm", "vision", "fra")["outcome"] == "chosen"


def test_a_clock_that_is_stepped_is_wrong_in_every_record_and_no_call_is_lost(rig: Rig, clock: Clock) -> None:
    for step_s in (-86_400.0, 86_400.0):
        with clock.stepped(step_s):
            answer = rig.infer("calm", infercast_id=f"stepped{step_s:.0f}")
            assert answer.status_code == 200, answer.text
        line = rig.ended(f"stepped{step_s:.0f}")
        assert abs(line["at"] - time.time() - step_s) < HOUR_S
    rig.well()


def test_a_disk_that_is_full_refuses_new_calls_and_takes_them_again(rig: Rig) -> None:
    with rig.disk_full("ams"):
        until(lambda: rig.infer("calm", entry="ams").status_code == 503, "no call begins without a journal")
        assert rig.infer("calm", entry="fra").status_code == 200
    until(lambda: rig.infer("calm", entry="ams").status_code == 200, "calls begin again")
