"""What is seen of real calls: scraped as Prometheus does, traced to a real receiver, logged; and nothing of what they carry."""

import json
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from infercast.router.sight.table import METRICS, Shape
from infercast.router.sight.targets import TARGETS
from infercast.router.sight.telling import series_of
from tests.router.otlp import Received
from tests.trouble.rig import Rig, until

SECRET = "7e-the-patients-name-7e"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
ASKED = f"00-{TRACE}-00f067aa0ba902b7-01"
DAILY = "budget_usd_per_day"
Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


def pages(rig: Rig) -> dict[str, str]:
    """What each node's agent of Ray serves, by the file that is made for Prometheus."""
    found = {}
    for target in json.loads((rig.state / TARGETS).read_text(encoding="utf-8")):
        (address,) = target["targets"]
        found[target["labels"]["node"]] = httpx.get(f"http://{address}/metrics", timeout=30).text
    return found


def scraped(rig: Rig) -> Series:
    """All that is infercast's, read by Prometheus' own parser; the labels that Ray adds are left out."""
    found: defaultdict[tuple[str, frozenset[tuple[str, str]]], float] = defaultdict(float)
    keys = {name: (*labels,) for metric in METRICS.values() for name, labels in series_of(metric).items()}
    for page in pages(rig).values():
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                name = sample.name.removeprefix("ray_")
                if name.startswith(("infercast_", "gen_ai_")):
                    found[name, frozenset((key, sample.labels[key]) for key in keys[name])] += sample.value
    return dict(found)


def total(series: Series, name: str, **labels: str) -> float:
    return sum(value for (at, have), value in series.items() if at == name and labels.items() <= set(have))


def test_what_prometheus_scrapes_is_what_the_journal_says(rig: Rig) -> None:
    whose = {"tenant": "flooder", "entry": "ams"}
    before, calls = scraped(rig), "infercast_calls_total"
    ids = [f"scraped-{number}" for number in range(11)]
    for call in ids[:7]:
        assert rig.embed("flooder", "vector", "ams", infercast_id=call).status_code == 200
    with rig.north.told(does="status", status=503):
        assert rig.embed("flooder", "vector", "ams", infercast_id=ids[7]).status_code == 200
    assert rig.chat("flooder", "chat", "ams", stream=True, infercast_id=ids[8]).status_code == 200
    assert rig.infer("flooder", "digits", "ams", "sealed", infercast_id=ids[9]).status_code in (200, 421, 403)
    assert rig.infer("flooder", "no-such-model", "ams", infercast_id=ids[10]).status_code == 404
    lines = [rig.ended(call) for call in ids]

    def gained(name: str, **labels: str) -> float:
        return total(now, name, **whose, **labels) - total(before, name, **whose, **labels)

    until(
        lambda: total(scraped(rig), calls, **whose) - total(before, calls, **whose) >= 11, "Ray has heard of all calls"
    )
    now = scraped(rig)
    for (outcome, reason), count in Counter((line["outcome"], line["reason"]) for line in lines).items():
        assert gained("infercast_calls_total", outcome=outcome, reason=reason) == count
        assert gained("infercast_call_duration_seconds_count", outcome=outcome) >= count
    by_site = Counter(line["deployment"].split("@")[1] for line in lines if line["deployment"])
    for site, count in by_site.items():
        assert gained("infercast_calls_total", site=site) == count
    assert abs(gained("infercast_cost_usd_total") - sum(line["cost_usd"] for line in lines)) < 1e-9
    assert gained("infercast_received_bytes_total") == sum(line["received_bytes"] for line in lines)
    tokens = [line["tokens"] for line in lines if line["tokens"]]
    assert gained("gen_ai_client_token_usage_sum", gen_ai_token_type="input") == sum(one[0] for one in tokens)
    assert gained("gen_ai_server_time_to_first_token_seconds_count") == 1
    assert gained("infercast_calls_total", model="no-such-model") == 0
    for name in ("infercast_deployment_healthy", "infercast_signal_age_seconds", "infercast_build_info"):
        assert total(now, name, entry="ams") > 0


def test_series_are_well_formed_and_of_the_type_that_they_are_told_as(rig: Rig) -> None:
    page = pages(rig)["fra"]
    counters = {f"ray_{metric.name}" for metric in METRICS.values() if metric.shape is Shape.COUNTER}
    seen = set()
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            if sample.name in counters:
                assert family.type == "counter"
                seen.add(sample.name)
            if sample.name.startswith("ray_infercast_call_duration_seconds_bucket"):
                assert float(sample.labels["le"].replace("+Inf", "inf")) > 0
    assert "ray_infercast_calls_total" in seen
    totals = scraped(rig)
    for (name, labels), value in totals.items():
        if name == "infercast_call_duration_seconds_bucket" and ("le", "+Inf") in labels:
            count = totals["infercast_call_duration_seconds_count", labels - {("le", "+Inf")}]
            assert value == count


def test_a_real_call_leaves_its_trace(rig: Rig, traces: Received) -> None:
    with rig.north.told(does="status", status=503):
        answer = rig.infer("calm", "score", infercast_id="traced", traceparent=ASKED)
    assert answer.status_code == 200
    line = rig.ended("traced")
    until(lambda: any(span.parent_id == "00f067aa0ba902b7" for span in traces.spans), "the trace has arrived")
    (root,) = [span for span in traces.spans if span.parent_id == "00f067aa0ba902b7"]
    assert (root.name, root.kind, root.trace_id) == ("infer score", "SERVER", TRACE)
    assert root.facts["infercast.call"] == line["number"]
    assert root.facts["infercast.attempts"] == len(line["attempts"])
    below = traces.below(root)
    assert below[0] == "auth"
    assert below.count("network") == len(line["attempts"])
    # Where the body was waited for, what was decided from the headers stands by itself.
    assert below.count("decide") == len(line["attempts"]) + below.count("receive")
    decided = [
        span
        for span in traces.named("decide")
        if span.parent_id == root.span_id and "infercast.deployment" in span.facts
    ]
    assert [span.facts["infercast.deployment"] for span in decided] == line["attempts"]
    took_us = (root.ended_ns - root.began_ns) // 1000
    assert took_us >= line["took_us"]
    assert all(root.began_ns <= span.began_ns and span.ended_ns <= root.ended_ns for span in decided)


def test_limits_and_kept_answers_are_seen(rig: Rig) -> None:
    entry = {"entry": "ams"}
    before = now = scraped(rig)

    def gained(name: str, **labels: str) -> float:
        return total(now, name, **entry, **labels) - total(before, name, **entry, **labels)

    with rig.policy("calm", limits={"requests_per_minute": 0}):
        for _ in range(3):
            assert rig.infer("calm", "digits", "ams").status_code == 429
    for said in ("seen", "seen", "seen", "other"):
        asked = [{"role": "user", "content": f"metrics: {said}"}]
        assert rig.chat("keeper", entry="ams", messages=asked).status_code == 200

    def told() -> bool:
        nonlocal now
        if rig.infer("calm", "score", "ams").status_code != 200:  # else what is leased would go back
            return False  # the ledger has not answered in time, on a busy machine
        now = scraped(rig)
        hits = gained("infercast_cache_calls_total", tenant="keeper", model="talk", result="hit")
        return hits >= 2 and total(now, "infercast_lease_left_ratio", **entry, tenant="calm", limit=DAILY) > 0

    with rig.policy("calm", limits={DAILY: 100.0}):
        until(told, "Ray has heard of all of it")
        assert 0 < total(now, "infercast_lease_held_ratio", tenant="calm", limit=DAILY) <= 1
    assert gained("infercast_limit_refusals_total", tenant="calm", limit="requests_per_minute") == 3
    assert gained("infercast_cache_calls_total", tenant="keeper", result="hit") == 2
    assert gained("infercast_cache_calls_total", tenant="keeper", result="miss") == 2
    assert total(now, "infercast_cache_kept_answers", **entry, tenant="keeper") >= 2
    assert total(now, "infercast_cache_kept_bytes", **entry, tenant="keeper") > 0
    assert total(now, "infercast_ledger_out_of_reach") == 0
    waiting = [labels for name, labels in now if name == "infercast_deployment_calls_waiting"]
    assert {dict(labels)["entry"] for labels in waiting} == {"fra", "ams", "dub"}


def test_nothing_that_calls_carry_is_written_down_anywhere(rig: Rig, traces: Received) -> None:
    told: dict[str, Any] = {
        "cookie": SECRET,
        "x_note": SECRET,
        "traceparent": ASKED,
        "tracestate": f"a={SECRET}",
        "user_agent": SECRET,
    }
    whole = {"inputs": [{"name": "image", "datatype": "FP32", "shape": [1, 64], "data": [0.0] * 64}], "id": SECRET}
    wrong = {"inputs": [{"name": SECRET, "datatype": "FP32", "shape": [1, 64], "data": [SECRET]}]}
    turn = [{"role": "user", "content": SECRET}]
    statuses = [
        rig.infer("calm", body=whole, **told).status_code,
        rig.infer("calm", "score", body=whole, **told).status_code,
        rig.infer("calm", body=wrong, **told).status_code,
        rig.infer("calm", body=f'{{"inputs": "{SECRET}'.encode(), **told).status_code,
        rig.infer("calm", body=b"\xff\xfe" + SECRET.encode(), **told).status_code,
        rig.infer("calm", "vision", body=wrong, **told).status_code,
        rig.chat("calm", "chat", messages=turn, **told).status_code,
        rig.chat("calm", "talk", messages=turn, stream=True, **told).status_code,
        rig.chat("calm", "chat", messages=[{"role": SECRET, "content": SECRET}], **told).status_code,
        rig.embed("calm", texts=[SECRET], **told).status_code,
        httpx.get(rig.url("fra") + "/v2", headers={"authorization": f"Bearer {SECRET}"}).status_code,
    ]
    assert statuses[0] == statuses[1] == statuses[6] == statuses[7] == statuses[9] == 200
    assert all(400 <= status < 500 for status in (*statuses[2:6], statuses[8]))
    with rig.north.told(does="half"):
        rig.infer("calm", "score", body=whole, **told)
        rig.chat("calm", "talk", messages=turn, **told)
    sent = 0

    def last_is_here() -> bool:
        """So many callers a second have their wish to be traced, and these were more: one is sent until one is heard."""
        nonlocal sent
        sent += 1
        rig.infer("calm", infercast_id=f"the-last-{sent}", **told)
        number = rig.ended(f"the-last-{sent}")["number"]
        time.sleep(2)  # four times OTEL_BSP_SCHEDULE_DELAY
        return any(span.facts.get("infercast.call") == number for span in traces.spans)

    until(last_is_here, "all traces are here")
    assert SECRET.encode() not in b"".join(traces.raw)
    assert all(SECRET not in page for page in pages(rig).values())
    files = [path for folder in (rig.state, Path(rig.running.temp)) for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "fra.jsonl" or path.parent.name == "journal" for path in files)
    found = [path for path in files if SECRET.encode() in path.read_bytes()]
    assert found == []
