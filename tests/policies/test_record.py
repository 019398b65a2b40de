"""Records: versioned JSON in a stable order, held against a golden file, and a line for people."""

import json
from pathlib import Path

from infercast.policies.model import Decision
from infercast.policies.record import RECORD_VERSION, as_json, reasons, summary
from infercast.policies.snapshot import Report, Snapshot
from tests.support import decide, engine_of, fleet_of, raw_fleet, request_of

GOLDEN = Path(__file__).parent / "golden" / "decision.json"


def example() -> Decision:
    """A decision with a choice, an alternative, a static veto, a veto of the moment and an unmeasured accuracy."""
    raw = raw_fleet()
    raw["cards"]["small"]["accuracy"] = None
    engine = engine_of(
        {"residency": {"processing": ["europe", "US"]}, "deadline_ms": 250},
        fleet_of(raw),
        objective={"waiting": {"usd_per_second": 0.001, "quantile": "p90"}, "usd_per_error": 0.01},
    )
    snapshot = Snapshot(engine.fleet)
    for index, age_us in enumerate((0, 10_000, 1_600_000, 0)):
        snapshot.hear(index, Report(index, 2_000, 3_000, healthy=index != 3), 10_000_000 - age_us)
    snapshot.believe(10_000_000)
    return engine.explain(request_of(payload_bytes=4096, classes=("plain",)), snapshot)


def test_the_record_is_the_golden_one() -> None:
    """After an intended change: `python -m tests.policies.test_record`, and read the difference."""
    assert json.dumps(as_json(example()), indent=1) + "\n" == GOLDEN.read_text(encoding="utf-8")


def test_a_record_has_a_version_and_survives_json() -> None:
    record = as_json(example())
    assert record["version"] == RECORD_VERSION
    assert json.loads(json.dumps(record)) == record
    assert list(record)[:4] == ["version", "id", "outcome", "chosen"]


def test_a_summary_says_where_and_why() -> None:
    decision = decide()
    line = summary(decision)
    assert line.startswith("small@ber: balanced of 3 eligible among 4 candidates; ")
    assert line.endswith(", accuracy 0.9000")


def test_a_refusal_counts_its_rules_in_their_order() -> None:
    decision = decide({"residency": {"processing": ["DE"]}, "accuracy_min": {"digits": 0.95}})
    assert reasons(decision) == "1 path.none, 2 residency.processing, 1 accuracy"
    assert summary(decision) == f"refused: 0/4 candidates pass: {reasons(decision)}"


def test_no_candidates_is_said() -> None:
    raw = raw_fleet(models=[*raw_fleet()["models"], {"id": "idle", "variants": [{"id": "none", "card": "n"}]}])
    raw["cards"]["none"] = {**raw["cards"]["small"], "variant": "none"}
    assert summary(decide(fleet=fleet_of(raw), ask={"model": "idle"})) == "refused: 0/0 candidates pass: no candidates"


if __name__ == "__main__":
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(as_json(example()), indent=1) + "\n", encoding="utf-8")
