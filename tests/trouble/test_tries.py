"""What becomes of a call whose upstream resets it, is slow, has faults or no room: retries, hedges, circuits, by real processes.

Fallbacks are switched off where they would hide what is looked at.
"""

import json
from itertools import count
from typing import Any

from tests.trouble.rig import Rig, until

NORTH, SOUTH = "scorer@north-tensors", "scorer@south-tensors"
ALONE: dict[str, Any] = {"fallbacks_max": 0}
HEDGE = {"after_quantile": "p50", "budget_share": 1.0}
SLOW_MS = 100.0
"""Longer than is expected of a call here, shorter than any patience: who waits for it gets it."""


def test_a_call_whose_connection_is_reset_is_made_once_more_and_only_then(rig: Rig) -> None:
    # Behind two calls in a row that came to nothing, whosever they were, a third speaks against the site, and is not made again there.
    until(lambda: rig.infer("calm", "score").headers.get("infercast-site") == "north-tensors", "north answers")
    with rig.policy("bold", behaviour={**ALONE, "retries_max": 1}):
        with rig.north.told(does="reset", times=1):
            answer = rig.infer("bold", "score", mark="retried", infercast_id="retried")
        assert answer.status_code == 200, answer.text
        assert rig.north.times("retried") == 2
        line = rig.ended("retried")
        assert line["attempts"] == [NORTH, NORTH]
        assert [place for place, _ in line["spent"]] == [NORTH, NORTH], "one that was reset may have run"
    with rig.policy("bold", behaviour=ALONE), rig.north.told(does="reset", times=1):
        assert rig.infer("bold", "score", mark="once").status_code != 200
        assert rig.north.times("once") == 1


def test_a_service_that_says_when_to_come_back_is_not_called_before(rig: Rig) -> None:
    with rig.policy("bold", behaviour={**ALONE, "retries_max": 1}):
        with rig.north.told(does="status", status=429, retry_after_s=2, times=1):
            answer = rig.infer("bold", "score", mark="waited", infercast_id="waited")
        assert answer.status_code == 200, answer.text
        line = rig.ended("waited")
        assert (line["attempts"], line["deployment"]) == ([NORTH, NORTH], NORTH)
        assert line["took_us"] >= 2_000_000
        assert len(line["spent"]) == 1, "what was turned away did not run"
        with rig.north.told(does="status", status=429, retry_after_s=30, times=1):
            answer = rig.infer("bold", "score", mark="too long")
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
        assert rig.north.times("too long") == 1


def test_a_slow_call_is_hedged_and_its_loser_is_ended_at_the_other_side_and_paid_for(rig: Rig) -> None:
    """North takes less than any patience: only a hedge brings another answer. On a busy machine it may take some calls."""
    numbers = count()

    def hedged() -> str:
        mark = f"hedged-{next(numbers)}"
        answer = rig.infer("bold", "score", mark=mark, infercast_id=mark)
        assert answer.status_code == 200, answer.text
        return mark if answer.headers["infercast-site"] == "south-tensors" else ""

    with rig.policy("bold", behaviour={"fallbacks_max": 1, "hedge": HEDGE}), rig.north.told(after_ms=SLOW_MS):
        gone = rig.north.seen().gone
        mark = until(hedged, "a second try answers first")
        assert (rig.north.times(mark), rig.south.times(mark)) == (1, 1)
        until(lambda: rig.north.seen().gone > gone, "north sees its caller hang up")
    line = rig.ended(mark)
    assert (line["attempts"], line["deployment"]) == ([NORTH, SOUTH], SOUTH)
    assert [place for place, _ in line["spent"]] == [SOUTH, NORTH]
    assert round(line["cost_usd"] * 1e9) == sum(cost_nusd for _, cost_nusd in line["spent"])


def test_a_hedge_goes_nowhere_that_the_data_may_not_go(rig: Rig) -> None:
    with rig.policy("bold", behaviour={"fallbacks_max": 1, "hedge": HEDGE}), rig.north.told(after_ms=SLOW_MS):
        answer = rig.infer("bold", "score", data_class="named", mark="named", infercast_id="named")
        assert answer.headers["infercast-site"] == "north-tensors", answer.text
        assert rig.south.times("named") == 0
        assert rig.ended("named")["attempts"] == [NORTH]


def test_a_service_that_fails_again_and_again_is_left_alone_and_tried_out_when_it_has_cooled_off(rig: Rig) -> None:
    def detail() -> str:
        verdicts = rig.decide("calm", "score")["verdicts"]
        return str(next(verdict["detail"] for verdict in verdicts if verdict["deployment"] == NORTH))

    def falls_back() -> bool:
        assert rig.infer("calm", "score", mark="failing").headers["infercast-site"] == "south-tensors"
        return "its circuit is" in detail()

    with rig.north.told(does="status", status=500):
        until(falls_back, "north's circuit is open")
        for _ in range(3):
            before = rig.north.times("spared")
            rig.infer("calm", "score", mark="spared")
            assert rig.north.times("spared") - before <= 1
    until(lambda: rig.infer("calm", "score").headers["infercast-site"] == "north-tensors", "north is called again")
    assert "circuit" not in detail()


def test_a_stream_that_is_lost_before_its_first_event_begins_elsewhere_and_later_ends_in_an_error(rig: Rig) -> None:
    with rig.north.told(does="reset"):
        whole = rig.chat("bold", stream=True, infercast_id="elsewhere")
    assert whole.text.rstrip().endswith("[DONE]")
    assert rig.ended("elsewhere")["deployment"] == "talker@south-text"
    rig.well()
    with rig.north.told(does="half-stream"):
        half = rig.chat("bold", stream=True, infercast_id="half")
    assert half.status_code == 200
    last = [line for line in half.text.splitlines() if line.startswith("data: ")][-1]
    assert "error" in json.loads(last.removeprefix("data: "))
    assert (rig.ended("half")["outcome"], rig.ended("half")["attempts"]) == ("failed", ["talker@north-text"])
