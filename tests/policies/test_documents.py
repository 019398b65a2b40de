"""Documents: plain values with line numbers; every fault of a file at once; nothing that can stop the reader."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infercast.policies.documents import DEPTH_MAX, DOCUMENT_BYTES_MAX, Document, dotted, read_document, validate
from infercast.policies.faults import BadInput, Fault, did_you_mean
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from infercast.policies.policy_file import load_policies, load_policy
from tests.support import fleet_of, raw_policy, write


def faults_of(text: str, model: Any = Policy) -> list[str]:
    with pytest.raises(BadInput) as caught:
        validate(Document("f.yaml", text), model)
    return [str(fault) for fault in caught.value.faults]


def test_all_faults_of_a_file_come_at_once_with_their_lines() -> None:
    text = """version: 1
tenant: T!
classes:
  plain:
    residancy: {}
    privacy:
      tiers: [edgy]
    deadline_ms: -1
objective:
  preference: cheap
objective: {}
"""
    assert faults_of(text) == [
        "f.yaml:2: tenant: 'T!' is no name (lower-case letters, digits, `-` and `.`, at most 63 of them)",
        "f.yaml:5: classes.plain.residancy: unknown key 'residancy' (did you mean 'residency'?)",
        "f.yaml:7: classes.plain.privacy.tiers[0]: 'edgy' is not known here (did you mean 'edge'?)",
        "f.yaml:8: classes.plain.deadline_ms: must be more than 0, is -1",
        "f.yaml:11: objective: the key stands twice (keep one of them)",
    ]


@pytest.mark.parametrize(("written", "number"), [("1:30", "90"), ("20:30:10", "73810"), ("1:30.5", "90.5")])
def test_a_number_in_base_60_is_refused_with_one_message(written: str, number: str) -> None:
    head = "version: 1\ntenant: t\n"
    said = f"{written!r} would be read in base 60, as {number} (write it with a point or in quotes)"
    whole = faults_of(f"{head}classes: {{plain: {{deadline_ms: {written}}}}}\n")
    assert whole == [f"f.yaml:3: classes.plain.deadline_ms: {said}"]
    assert faults_of(f"{head}models: [{written}]\nclasses: {{plain: {{}}}}\n") == [f"f.yaml:3: models[0]: {said}"]


@pytest.mark.parametrize("written", ['"20:30"', "20:30-06:00", "06:30", "2026-12-01 20:30:00", "a:1:30"])
def test_what_only_looks_like_base_60_is_read(written: str) -> None:
    assert Document("f.yaml", f"a: {written}").faults == []


def test_a_missing_key_is_named_where_it_belongs() -> None:
    assert faults_of("version: 1\ntenant: t\n") == ["f.yaml:1: classes: the key 'classes' is missing (add it)"]


def test_faults_of_meaning_come_with_those_of_form(tmp_path: Path) -> None:
    raw = raw_policy({"residency": {"processing": ["atlantis"]}, "deadline_ms": -1}, models=["digit"])
    with pytest.raises(BadInput) as caught:
        load_policy(write(tmp_path / "t.yaml", raw), fleet_of())
    fields = {fault.field for fault in caught.value.faults}
    assert fields == {"always.residency.processing", "always.deadline_ms", "models[0]"}
    assert "did you mean 'digits'?" in str(caught.value)


def test_faults_of_all_files_come_at_once(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write(tmp_path / f"{name}.yaml", raw_policy(tenant="same" if name == "c" else "?"))
    write(tmp_path / "d.yaml", raw_policy(tenant="same"))
    write(tmp_path / "d.cases.yaml", "not: a policy")
    with pytest.raises(BadInput) as caught:
        load_policies(tmp_path, fleet_of())
    assert [Path(fault.file).name for fault in caught.value.faults] == ["a.yaml", "b.yaml", "c.yaml", "d.yaml"]
    with pytest.raises(BadInput, match="holds no policy files"):
        load_policies(tmp_path / "nowhere", fleet_of())


@pytest.mark.parametrize("word", ["NO", "no", "Yes", "on", "OFF", "y", "N"])
def test_words_that_yaml_takes_for_truth_stay_words(word: str) -> None:
    assert Document("f", f"country: {word}\n{word}: 1\nlist: [{word}]").value == {
        "country": word,
        word: 1,
        "list": [word],
    }


def test_values_are_plain() -> None:
    text = "a: true\nb: False\nc: 1\nd: 0.5\ne: text\nf: null\ng:\nh: [1, {i: 2}]\nj: '01'\n"
    expected = {"a": True, "b": False, "c": 1, "d": 0.5, "e": "text", "f": None, "g": None, "h": [1, {"i": 2}]}
    document = Document("f", text)
    assert document.value == {**expected, "j": "01"}
    assert document.line_of(("h", 1, "i")) == 8
    assert document.line_of(("h", 1, "nothing", "here")) == 8


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_a_fault(text: str) -> None:
    assert faults_of(text) == ["f.yaml: the file is empty"]


@pytest.mark.parametrize("text", ["- a\n", "word\n", "1\n"])
def test_a_file_of_other_than_keys_is_a_fault(text: str) -> None:
    assert faults_of(text) == ["f.yaml:1: expected `key: value` lines at the top"]


@pytest.mark.parametrize(
    ("text", "line"),
    [("a: [1\nb: 2\n", 2), ("a: 'x\n", 2), ("a: 1\n  b: 2\n", 2), ("a: *unknown\n", 1), ("a: \x00", 0)],
)
def test_what_is_not_yaml_is_one_fault(text: str, line: int) -> None:
    document = Document("f", text)
    assert document.value is None
    assert [fault.line for fault in document.faults] == [line]
    assert document.faults[0].message.startswith("not YAML: ")


def test_two_documents_in_a_file_are_refused() -> None:
    assert "not YAML" in faults_of("a: 1\n---\nb: 2\n")[0]


@pytest.mark.parametrize(
    "scalar",
    [
        "!!python/object:os.system x",
        "!!python/name:os.system",
        "!unheard-of x",
        "!!int many",
        "!!int ''",
        "!!float ''",
        "!!timestamp soon",
        "2024-13-45",
        "!!binary é",
        "=",
        "9" * 5000,
    ],
)
def test_a_scalar_that_cannot_be_read_is_a_fault_in_its_place(scalar: str) -> None:
    document = Document("f", f"first: 1\nbad: {scalar}\n")
    assert document.value["bad"] is None
    assert [(fault.line, fault.field) for fault in document.faults] == [(2, "bad")]


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("tenant: caf\xe9".encode("latin-1"))
    with pytest.raises(BadInput, match=r"is not UTF-8: .* \(save it as UTF-8\)"):
        read_document(tmp_path / "latin.yaml")


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file or directory"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(BadInput, match="cannot be read: Is a directory"):
        read_document(tmp_path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(DOCUMENT_BYTES_MAX + 1)
    with pytest.raises(BadInput, match="larger than 16777216 bytes"):
        read_document(path)


@pytest.mark.parametrize("depth", [DEPTH_MAX + 1, 5_000])
def test_depth_is_bounded(depth: int) -> None:
    document = Document("f", "a: " + "[" * depth + "]" * depth)
    assert len(document.faults) == 1
    assert "deep" in document.faults[0].message


LAUGHS = "\n".join(["a0: &a0 [x, x]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 12))])


@pytest.mark.parametrize("text", [LAUGHS, "a: &a [*a, *a]", "a: &a {b: *a, c: *a}"], ids=["laughs", "list", "map"])
def test_aliases_cannot_grow_without_bound(text: str) -> None:
    """In a process of its own, because a reader without a bound never comes back."""
    code = "import sys; from infercast.policies.documents import Document; d = Document('f', sys.argv[1]); print(len(d.faults))"
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, timeout=200, check=True)
    assert int(done.stdout) > 0


def test_aliases_may_be_used() -> None:
    document = Document("f", "a: &a {b: 1}\nc: *a\nd: [*a, *a]\n")
    assert document.faults == []
    assert document.value == {"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}, {"b": 1}]}


def test_did_you_mean_looks_at_the_schema_of_the_place() -> None:
    text = "version: 1\nname: x\nsites:\n  - {id: a, tier: edge, lat: 0, lon: 0, acelerators: {}}\n"
    found = faults_of(text, Fleet)
    assert "f.yaml:4: sites[0].acelerators: unknown key 'acelerators' (did you mean 'accelerators'?)" in found
    assert "f.yaml:4: sites[0].accelerators: the key 'accelerators' is missing (add it)" in found


def test_places_are_written_as_people_write_them() -> None:
    assert dotted(("sites", 2, "trust", "attestation")) == "sites[2].trust.attestation"
    assert dotted(()) == ""


def test_faults_are_sorted_and_each_is_said_once() -> None:
    late, early = Fault("f", 9, "b", "wrong"), Fault("f", 2, "a", "wrong", "mend it")
    error = BadInput([late, early, late])
    assert error.faults == (early, late)
    assert str(error) == "f:2: a: wrong (mend it)\nf:9: b: wrong"


def test_did_you_mean_names_what_is_known() -> None:
    assert did_you_mean("edg", ["edge", "cloud"]) == "did you mean 'edge'?"
    assert did_you_mean("eea", ["AE", "EEA"]) == "did you mean 'EEA'?"
    assert did_you_mean("1", ["1"]) == "it is written 1, without quotes"
    assert did_you_mean("zzz", map(str, range(1000))).endswith("and 940 more")
    assert did_you_mean("zzz", ["edge", "cloud"]) == "known: cloud, edge"
    assert did_you_mean("zzz", []) == "none are declared"


def test_a_word_without_end_is_compared_as_far_as_words_go() -> None:
    assert did_you_mean("edge" + "x" * 50_000_000, ["edge", "cloud"]) == "known: cloud, edge"
