"""What is counted is what a plain recount finds; names are those of the files, however callers call things."""

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from infercast.policies.model import Choice, Outcome
from infercast.router.api import Api, Usage
from infercast.router.conduct import clock
from infercast.router.conduct.endings import Answered, Carrying, Stake
from infercast.router.conduct.ports import Carried, Lost, Passed, Received
from infercast.router.conduct.tries import Try
from infercast.router.errors import Kind, Trouble
from infercast.router.runtime.host import Answer
from infercast.router.sight import table
from infercast.router.sight.buckets import Buckets
from infercast.router.sight.counting import came_of
from infercast.router.sight.seeing import Seeing
from infercast.router.sight.table import METRICS, Shape
from infercast.router.sight.telling import ThroughRay, series_of, text_of
from tests.router.fakes import Scene, ask, example_fleet, scene
from tests.router.test_sight_spans import carry, text

Found = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def seen(at: Scene, entry: str = "fra") -> Seeing:
    """Let what really counts look at a scene's calls."""
    seeing = Seeing(entry, example_fleet())
    at.caller._sight = seeing
    return seeing


def told(seeing: Seeing) -> Found:
    """All samples, read from the text by Prometheus' own parser."""
    families = text_string_to_metric_families(text_of(seeing.samples()))
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def total(found: Found, name: str, **labels: str) -> float:
    """The sum of a series over all labels that are not given."""
    return sum(value for (at, have), value in found.items() if at == name and labels.items() <= dict(have).items())


@given(st.lists(st.integers(0, 40_000_000), max_size=200), st.sampled_from([m for m in METRICS.values() if m.bounds]))
def test_buckets_are_what_a_plain_recount_says(values: list[int], metric: table.Metric) -> None:
    buckets = Buckets(metric)
    for value in values:
        buckets.note(value)
    samples = {(s.metric.removeprefix(metric.name), s.labels): s.value for s in buckets.samples(("x",))}
    for bound in metric.bounds:
        le = repr(bound / metric.scale)
        assert samples["_bucket", ("x", le)] == sum(value <= bound for value in values)
    assert samples["_bucket", ("x", "+Inf")] == samples["_count", ("x",)] == len(values)
    assert samples["_sum", ("x",)] == sum(values) / metric.scale


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["digits", "vision", "chat", "nobody-made-this", "or-that"]),
        st.sampled_from(["gameplay", "minors", "invented"]),
        st.sampled_from(["ok", "lost", "trouble", "fault", "saturated", "cancelled"]),
    ),
    max_size=25,
)


@settings(max_examples=25)
@given(CALLS)
def test_the_counts_are_the_journals(calls: list[tuple[str, str, str]]) -> None:
    at = scene()
    seeing = seen(at)
    for model, data_class, word in calls:
        at.runner.calls.clear()
        at.runner.script[:] = [word]
        carry(at, model=model, classes=(data_class,))
    found, lines = told(seeing), at.journal.of("call")
    assert total(found, "infercast_calls_total") == len(lines) == len(calls)
    for (outcome, reason), count in Counter((line["outcome"], line["reason"]) for line in lines).items():
        assert total(found, "infercast_calls_total", outcome=outcome, reason=reason) == count
    for outcome, count in Counter(line["outcome"] for line in lines).items():
        assert total(found, "infercast_call_duration_seconds_count", outcome=outcome) == count
    for line in lines:
        if line["deployment"]:
            assert total(found, "infercast_calls_total", model=line["model"], site=line["deployment"].split("@")[1])
    assert total(found, "infercast_cost_usd_total") == pytest.approx(sum(line["cost_usd"] for line in lines), abs=1e-9)
    assert total(found, "infercast_received_bytes_total") == sum(line["received_bytes"] for line in lines)
    attempts = sum(len(line["attempts"]) for line in lines)
    assert total(found, "infercast_attempts_total") == attempts
    answered = sum(line["outcome"] == "answered" for line in lines)
    assert total(found, "infercast_attempts_total", outcome="answered") == answered
    assert total(found, "infercast_stage_duration_seconds_count", stage="decide") == answered


def test_what_callers_invent_makes_no_series() -> None:
    at = scene()
    seeing = seen(at)
    for number in range(50):
        carry(at, model=f"invented-{number}", id=f"id-{number}", classes=(f"class-{number}",))
    found = told(seeing)
    assert total(found, "infercast_calls_total", model="") == 50
    assert sum(1 for name, _ in found if name == "infercast_calls_total") == 1
    assert "invented" not in text_of(seeing.samples())
    assert "class-" not in text_of(seeing.samples())


def test_a_fallback_and_what_became_of_each_attempt() -> None:
    at = scene("lost", "ok")
    seeing = seen(at)
    carry(at)
    first, second = (deployment.split("@")[1] for deployment in at.runner.tried)
    found = told(seeing)
    assert total(found, "infercast_attempts_total", kind="first", outcome="lost", site=first) == 1
    assert total(found, "infercast_attempts_total", kind="fallback", outcome="answered", site=second) == 1


def test_each_kind_of_attempt_and_what_may_become_of_it() -> None:
    at = scene()
    seeing = seen(at)
    stakes = [Stake(index, "", 1, 1) for index in range(4)]
    choice = Choice(Outcome.CHOSEN, (0,), (100,), (1,), (90,), (10,))
    first, again, other, beside = (
        Try(index, choice, stake, "d", [], 1000, None, False, beside=index == 2, sent_us=1, ended_us=2)
        for index, stake in zip((0, 0, 1, 2), stakes, strict=True)
    )
    first.met, again.met, other.met = TimeoutError(), Lost("gone"), asyncio.CancelledError()
    other.outrun = True
    carrying = Carrying(ask(), "1", 1, tries=[first, again, other, beside], won=stakes[3], ended_us=9)
    fleet = example_fleet()
    winner = fleet.deployments[2]
    answer = Answer(b"", None, winner.variant, winner.site, 1, at_site_us=1)
    seeing.ended(carrying, Answered(answer, winner.id, "edge", "d", 4, 0.0, [], 1), None)
    found = told(seeing)
    for kind, outcome in (("first", "late"), ("retry", "lost"), ("fallback", "outrun"), ("hedge", "answered")):
        assert total(found, "infercast_attempts_total", kind=kind, outcome=outcome) == 1
    assert total(found, "infercast_attempts_total") == 4


@pytest.mark.parametrize(
    ("met", "came"),
    [
        (Passed(Trouble(Kind.SATURATED, "full")), "declined"),
        (Trouble(Kind.UNAVAILABLE, "down"), "declined"),
        (Trouble(Kind.BAD_REQUEST, "bad"), "refused"),
        (Trouble(Kind.FAULT, "ours"), "fault"),
        (ValueError(), "fault"),
        (asyncio.CancelledError(), "cancelled"),
        (None, "answered"),
    ],
)
def test_what_comes_of_an_attempt_has_a_word(met: BaseException | None, came: str) -> None:
    choice = Choice(Outcome.CHOSEN, (0,))
    tried = Try(0, choice, Stake(0, "", 1, 1), "d", [], 1000, None, False, sent_us=1, ended_us=2, met=met)
    assert came_of(tried) == came


def test_the_stages_of_a_call_are_those_that_it_kept() -> None:
    at = scene()
    seeing = seen(at)
    carry(at)
    found = told(seeing)
    assert total(found, "infercast_stage_duration_seconds_sum", stage="inference") == 0.001
    assert total(found, "infercast_stage_duration_seconds_sum", stage="queue") == 0.0005
    assert total(found, "infercast_stage_duration_seconds_sum", stage="auth") >= 0.001
    assert total(found, "infercast_stage_duration_seconds_count", stage="network") == 0  # at the entry itself
    took_s = total(found, "infercast_call_duration_seconds_sum")
    assert took_s * 1e6 >= at.journal.only()["took_us"]


@pytest.mark.parametrize("script", [(), (b"a", b"b", Usage(7, 3))], ids=["whole", "streamed"])
def test_texts_are_counted_in_opentelemetrys_words(script: tuple[Any, ...]) -> None:
    at = scene()
    seeing = seen(at)
    text(at, *script, usage=Usage(7, 3))
    carry(at, model="chat")
    found = told(seeing)
    words = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "chat", "tenant": "studio"}
    assert total(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="input", **words) == 7
    assert total(found, "gen_ai_client_token_usage_sum", gen_ai_token_type="output", **words) == 3
    assert total(found, "gen_ai_server_request_duration_seconds_count", error_type="", **words) == 1
    streamed = 1 if script else 0
    assert total(found, "gen_ai_server_time_to_first_token_seconds_count", **words) == streamed
    assert total(found, "gen_ai_server_time_per_output_token_seconds_count", **words) == streamed


def test_a_text_that_fails_is_counted_by_what_it_failed_of() -> None:
    at = scene()
    seeing = seen(at)
    text(at)

    async def run(deployment: int, call: Carried, timeout_s: float) -> Answer:
        raise Trouble(Kind.FAULT, "broken")

    at.runner.run = run  # type: ignore[method-assign]
    carry(at, model="chat")
    assert at.journal.only()["reason"] == "fault"
    words = {"gen_ai_operation_name": "chat", "gen_ai_request_model": "chat", "tenant": "studio"}
    found = told(seeing)
    assert total(found, "gen_ai_server_request_duration_seconds_count", error_type="fault", **words) == 1


def test_a_text_for_a_model_that_its_body_invents_makes_no_series_of_that_name() -> None:
    at = scene()
    seeing = seen(at)

    async def receive() -> Received:
        return Received(b"{}", api=Api.CHAT, request=ask(model="nobody-made-this"))

    at.body = receive  # type: ignore[assignment]
    carry(at, model="")
    found = told(seeing)
    words = {"error_type": "not_found", "gen_ai_request_model": ""}
    assert total(found, "gen_ai_server_request_duration_seconds_count", **words) == 1
    assert not [labels for _, labels in found if "nobody-made-this" in dict(labels).values()]


def test_tensors_are_no_generative_ai() -> None:
    at = scene()
    seeing = seen(at)
    carry(at)
    assert not [name for name, _ in told(seeing) if name.startswith("gen_ai")]


def test_what_is_noted_never_grows_without_end() -> None:
    at = scene()
    seeing = seen(at)
    with suppress(Trouble):
        asyncio.run(at.caller.call(ask(), at.body))
    carrying = _ended(at)
    for _ in range(25_000):
        seeing.ended(*carrying)
    waiting = [len(h._noted) for h in seeing._counting._histograms.values()]
    assert max(waiting) <= 10_001
    assert total(told(seeing), "infercast_calls_total") == 25_001


def _ended(at: Scene) -> Any:
    """A call as it is handed over at its end."""
    kept: list[Any] = []

    class Keeps(Seeing):
        def ended(self, *what: Any) -> None:
            kept.append(what)

    before, at.caller._sight = at.caller._sight, Keeps("fra", example_fleet())
    asyncio.run(at.caller.call(ask(), at.body, arrived_us=clock.now_us()))
    at.caller._sight = before
    return kept[0]


class Recorded:
    """A metric of Ray's, as far as it is used here; each value by its tags."""

    def __init__(self, name: str, _meaning: str, keys: tuple[str, ...]) -> None:
        self.name, self.keys = name, keys
        self.values: dict[tuple[tuple[str, str], ...], float] = {}
        self.records = 0

    def set(self, value: float, tags: dict[str, str]) -> None:
        assert set(tags) == set(self.keys)
        self.records += 1
        self.values[tuple(sorted(tags.items()))] = value

    def inc(self, value: float, tags: dict[str, str]) -> None:
        assert value > 0
        self.set(self.values.get(tuple(sorted(tags.items())), 0) + value, tags)


def test_ray_is_told_the_same_and_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    ray_metrics = pytest.importorskip("ray.util.metrics")
    for kind in ("Counter", "Gauge"):
        monkeypatch.setattr(ray_metrics, kind, Recorded)
    through = ThroughRay()
    at = scene()
    seeing = seen(at)
    for _ in range(3):
        carry(at)
        through.tell(seeing.samples())
    series: dict[str, Recorded] = {name: one for name, (one, _) in through._series.items()}
    for (name, labels), value in told(seeing).items():
        assert series[name].values[labels] == pytest.approx(value)
    before = sum(one.records for one in series.values())
    through.tell(seeing.samples())
    assert sum(one.records for one in series.values()) == before
    through.tell(seeing.samples())  # Ray would forget them
    gauges = sum(1 for name, _ in told(seeing) if not name.endswith("_total"))
    assert sum(one.records for one in series.values()) == before + gauges


BASE_UNITS = (
    "_seconds",
    "_bytes",
    "_usd",
    "_total",
    "_info",
    "_lines",
    "_calls_in_flight",
    "_healthy",
    "_usage",
    "_state",
    "_ratio",
    "_answers",
    "_calls_waiting",
    "_under_way",
    "_drained",
    "_out_of_reach",
)


def test_names_are_as_prometheus_has_them() -> None:
    for metric in METRICS.values():
        assert metric.name.replace("_", "").isalnum()
        assert metric.name == metric.name.lower()
        assert metric.name.startswith(("infercast_", "gen_ai_"))
        assert (metric.shape is Shape.COUNTER) == metric.name.endswith("_total")
        assert metric.name.endswith(BASE_UNITS), metric.name
        assert not {"_ms", "_us", "_milliseconds", "_kb"} & {metric.name[-3:]}
        assert metric.meaning.endswith(".")
        assert "le" not in metric.labels
        assert metric.labels[0] == "entry"
        if metric.shape is Shape.HISTOGRAM:
            assert list(metric.bounds) == sorted(set(metric.bounds))
            assert metric.name.endswith("_seconds") == (metric.scale == 1_000_000)
            assert set(series_of(metric)) == {f"{metric.name}_{end}" for end in ("bucket", "sum", "count")}
        else:
            assert not metric.bounds
    assert np.all(np.diff(table.CALL_US) > 0)


def test_a_streamed_call_that_is_cut_is_counted_as_the_journal_has_it() -> None:
    at = scene()
    seeing = seen(at)
    text(at, b"a", ValueError())
    with suppress(ValueError):
        carry(at, model="chat")
    line = at.journal.only()
    found = told(seeing)
    assert total(found, "infercast_calls_total", outcome=line["outcome"], reason=line["reason"]) == 1
    assert total(found, "gen_ai_server_request_duration_seconds_count", error_type=line["reason"]) == 1
    assert total(found, "infercast_stage_duration_seconds_count") == 0
