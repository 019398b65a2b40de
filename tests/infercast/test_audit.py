"""The audit finds in the journals what may never have happened: each forged line is caught, and true ones are not."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infercast.audit import Audit, audit
from infercast.policies.engine import Engine
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy_file import load_policies

ROOT = Path(__file__).resolve().parents[2]
Line = dict[str, Any]


@cache
def engine() -> Engine:
    """The example's engine."""
    fleet = load_fleet(ROOT / "cluster.yaml")
    return Engine(fleet, load_policies(ROOT / "policies" / "tenants", fleet))


def call(**parts: Any) -> Line:
    """A call of the hospital's that was answered in Frankfurt."""
    return {
        "kind": "call", "place": "fra", "request": "r1", "tenant": "hospital", "model": "digits", "entry": "fra",
        "origin": "paris", "classes": ["personal"], "outcome": "answered", "attempts": ["digits-large@fra"], **parts,
    }  # fmt: skip


def received(**parts: Any) -> Line:
    """The payload of that call, as its ingress took it in."""
    return {
        "kind": "received", "place": "fra", "role": "ingress", "request": "r1", "tenant": "hospital", "model": "digits",
        "classes": ["personal"], "origin": "paris", "payload_bytes": 256, **parts,
    }  # fmt: skip


def audited(folder: Path, *lines: Line) -> Audit:
    """Audit these lines, each in the file of its place."""
    for line in lines:
        with (folder / f"{line['place']}-1.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
    return audit(folder, engine())


def test_what_happened_as_it_should_is_clean(tmp_path: Path) -> None:
    found = audited(
        tmp_path, call(), received(), call(request="r2", place="dub", entry="dub", attempts=["digits-large@dub"])
    )
    assert found.clean
    assert (found.calls, found.received, found.payload_bytes) == (2, 1, 256)


def test_a_payload_that_names_its_model_itself_may_be_read_where_every_model_may(tmp_path: Path) -> None:
    assert audited(tmp_path, received(model="")).clean
    assert audited(tmp_path, received(model="", place="iad")).misplaced == ("r1 (hospital) at iad",)
    assert audited(tmp_path, received(model="", tenant="nobody")).misplaced[0] == "r1 (nobody) at fra"


def test_a_refusal_whose_body_was_never_read_is_clean(tmp_path: Path) -> None:
    refused = call(place="iad", entry="iad", origin="newyork", outcome="refused", attempts=[])
    assert audited(tmp_path, refused, received(place="iad", payload_bytes=0)).clean


def test_a_patients_picture_received_in_virginia_is_caught(tmp_path: Path) -> None:
    found = audited(tmp_path, call(), received(place="iad"))
    assert found.misplaced == ("r1 (hospital) at iad",)
    assert not found.clean


@pytest.mark.parametrize("site", ["fra", "sin", "gru", "iad", "dub"])
def test_a_fingerprint_received_at_any_site_is_caught(tmp_path: Path, site: str) -> None:
    on_the_camera = received(place="berlin-cam", origin="berlin-cam", classes=["biometric"])
    found = audited(tmp_path, received(place=site, origin="berlin-cam", classes=["biometric"]), on_the_camera)
    assert found.misplaced == (f"r1 (hospital) at {site}",)


def test_a_payload_without_a_class_counts_as_the_strictest(tmp_path: Path) -> None:
    assert audited(tmp_path, received(classes=[])).misplaced == ("r1 (hospital) at fra",)


@pytest.mark.parametrize(
    "attempt",
    ["digits-large@iad", "digits-large@dub", "digits-small@fra", "squeezenet@fra", "digits-large@nowhere"],
    ids=["another country", "by way of Britain", "below the floor", "another model", "no such place"],
)
def test_an_attempt_outside_the_policy_is_caught(tmp_path: Path, attempt: str) -> None:
    found = audited(tmp_path, call(attempts=["digits-large@fra", attempt]))
    assert found.off_policy == (f"r1 on {attempt}",)


def test_an_attempt_of_a_failed_call_counts_too(tmp_path: Path) -> None:
    found = audited(tmp_path, call(outcome="failed", attempts=["digits-large@iad"]))
    assert found.off_policy == ("r1 on digits-large@iad",)


def test_two_endings_of_one_call_are_caught(tmp_path: Path) -> None:
    found = audited(tmp_path, call(), call(outcome="failed"))
    assert found.ended_twice == ("r1 at fra",)
    assert not found.clean


def test_a_call_that_two_places_carried_ends_once_at_each(tmp_path: Path) -> None:
    camera = call(place="berlin-cam", entry="berlin-cam", origin="berlin-cam", attempts=["digits-large@fra"])
    assert audited(tmp_path, camera, call(origin="berlin-cam")).ended_twice == ()


def test_a_line_cut_off_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    whole, cut = json.dumps(call()), json.dumps(received(place="iad"))[:40]
    (tmp_path / "fra-1.jsonl").write_text(f"{whole}\n{cut}")
    found = audit(tmp_path, engine())
    assert (found.calls, found.received, found.clean) == (1, 0, True)


@pytest.mark.parametrize("named", [{"classes": ["persnal"]}, {"model": "digit"}])
def test_a_call_that_named_what_nobody_declared_is_read_like_any_other(tmp_path: Path, named: Line) -> None:
    refused = {"outcome": "refused", "attempts": [], **named}
    found = audited(
        tmp_path, call(**refused), received(payload_bytes=0, **named), call(request="r2", attempts=["digits-large@iad"])
    )
    assert found.off_policy == ("r2 on digits-large@iad",)


def test_a_payload_handed_on_over_a_forbidden_way_is_caught(tmp_path: Path) -> None:
    handed_on = received(place="dub", role="replica", entry="fra")
    assert audited(tmp_path, handed_on).misplaced == ("r1 (hospital) at dub",)


def test_a_payload_that_came_in_over_a_forbidden_way_is_caught(tmp_path: Path) -> None:
    came_in = received(place="dub", origin="berlin")
    assert audited(tmp_path, came_in).misplaced == ("r1 (hospital) at dub",)
