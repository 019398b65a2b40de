"""Traffic files: the example's own is read, and every fault of a bad one comes at once, with its line."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infercast.load import Payloads, Traffic, load_traffic
from infercast.policies.faults import BadInput, Fault
from infercast.policies.fleet import Fleet
from infercast.policies.fleet_file import load_fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies

ROOT = Path(__file__).resolve().parents[2]
GOOD = {"name": "wards", "tenant": "hospital", "class": "personal", "model": "digits", "from": "paris", "calls": 3}


@cache
def fleet() -> Fleet:
    """The example fleet."""
    return load_fleet(ROOT / "cluster.yaml")


@cache
def policies() -> dict[str, Policy]:
    """The example's policies."""
    return load_policies(ROOT / "policies" / "tenants", fleet())


def traffic(folder: Path, *streams: Any, **parts: Any) -> Path:
    """Write a traffic file, one stream a line."""
    rows = [f"  - {json.dumps(stream)}" for stream in streams]
    more = [f"{name}: {json.dumps(value)}" for name, value in parts.items()]
    path = folder / "traffic.yaml"
    path.write_text("\n".join(["version: 1", "streams:", *rows, *more]) + "\n")
    return path


def read(path: Path) -> Traffic:
    """Read a traffic file."""
    return load_traffic(path, fleet(), policies())


def faults(path: Path) -> tuple[Fault, ...]:
    """What is said of a bad one."""
    with pytest.raises(BadInput) as caught:
        read(path)
    return caught.value.faults


def test_the_examples_traffic_is_read() -> None:
    plan = read(ROOT / "examples" / "demo.yaml")
    assert plan.kill == "dub"
    assert {stream.tenant for stream in plan.streams} == set(policies())
    assert {stream.origin for stream in plan.streams} <= {*fleet().site_by_id, *fleet().zone_by_id}


def test_a_good_file_is_read_as_it_stands(tmp_path: Path) -> None:
    (stream,) = read(traffic(tmp_path, {**GOOD, "entries": ["dub", "fra"]})).streams
    assert (stream.origin, stream.data_class, stream.entries, stream.calls) == ("paris", "personal", ("dub", "fra"), 3)


@pytest.mark.parametrize(
    ("named", "field", "said"),
    [
        ({"tenant": "hospitl"}, "tenant", "'hospitl' is not declared"),
        ({"model": "digit"}, "model", "'digit' is not declared"),
        ({"from": "pari"}, "from", "'pari' is not declared"),
        ({"entries": ["fra", "duh"]}, "entries", "'duh' is no site"),
        ({"entries": ["paris"]}, "entries", "'paris' is no site"),
    ],
)
def test_a_name_that_nobody_declared_is_a_fault_at_its_line(tmp_path: Path, named: Any, field: str, said: str) -> None:
    (fault,) = faults(traffic(tmp_path, GOOD, {**GOOD, **named}))
    assert fault.line == 4
    assert fault.field == f"streams[1].{field}"
    assert said in fault.message


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"calls": 0}, "calls"),
        ({"calls": "many"}, "calls"),
        ({"clas": "personal"}, "clas"),
        ({"tenant": ""}, "tenant"),
    ],
)
def test_a_value_of_the_wrong_shape_is_a_fault_at_its_line(tmp_path: Path, parts: Any, said: str) -> None:
    found = [fault for fault in faults(traffic(tmp_path, {**GOOD, **parts})) if fault.line == 3]
    assert [fault.field for fault in found] == [f"streams[0].{said}"]


def test_one_fault_in_the_only_stream_is_told_once(tmp_path: Path) -> None:
    assert len(faults(traffic(tmp_path, {**GOOD, "calls": 0}))) == 1


def test_all_faults_come_at_once(tmp_path: Path) -> None:
    found = faults(traffic(tmp_path, {**GOOD, "tenant": "x", "model": "y"}, {**GOOD, "from": "z"}))
    assert [(fault.line, fault.field) for fault in found] == [
        (3, "streams[0].model"), (3, "streams[0].tenant"), (4, "streams[1].from")
    ]  # fmt: skip


def test_a_file_without_streams_or_of_another_version_is_refused(tmp_path: Path) -> None:
    assert "streams" in str(faults(traffic(tmp_path))[0])
    path = tmp_path / "other.yaml"
    path.write_text(traffic(tmp_path, GOOD).read_text().replace("version: 1", "version: 2"))
    assert faults(path)[0].line == 1
    assert "none.yaml: cannot be read" in str(faults(tmp_path / "none.yaml")[0])


@pytest.mark.parametrize(
    ("stream", "more"),
    [({}, {"kill": "duh"}), ({"class": "persnal"}, {}), ({"tenant": "bank", "class": "ledger", "model": "vision"}, {})],
)
def test_a_kill_class_or_model_that_is_not_there_is_a_fault_too(tmp_path: Path, stream: Any, more: Any) -> None:
    assert len(faults(traffic(tmp_path, {**GOOD, **stream}, **more))) == 1


def test_names_that_are_near_are_proposed(tmp_path: Path) -> None:
    (fault,) = faults(traffic(tmp_path, {**GOOD, "tenant": "hospitl"}))
    assert "did you mean 'hospital'?" in str(fault)


def test_payloads_are_real_images_with_their_labels_or_seeded_ones() -> None:
    payloads = Payloads(fleet(), ROOT)
    body, header_bytes, label = payloads.of("digits", 0)
    assert len(body) == header_bytes + 4 * 64
    assert label in range(10)
    assert payloads.of("digits", 1)[0] != body
    picture, header_bytes, nothing = payloads.of("vision", 0)
    assert len(picture) == header_bytes + 4 * 3 * 224 * 224
    assert nothing is None
    assert payloads.of("vision", 1)[0] == picture


def test_payloads_need_the_examples(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="run from the repository"):
        Payloads(fleet(), tmp_path)
