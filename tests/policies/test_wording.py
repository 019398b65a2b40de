"""Faults speak our words: what the value must be, and what it is."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.documents import Document, examine
from infercast.policies.fleet import Fleet
from infercast.policies.policy import Policy
from tests.support import raw_fleet, raw_policy

LIBRARY = (
    "Input should",
    "should match",
    "valid ",
    "Field required",
    "Extra inputs",
    "pydantic",
    "Value error",
    "instance of",
)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("tenant: T!", "tenant: 'T!' is no name (lower-case letters, digits, `-` and `.`, at most 63 of them)"),
        ("always: {deadline_ms: 0}", "always.deadline_ms: must be more than 0, is 0"),
        ("always: {deadline_ms: '5'}", "always.deadline_ms: must be a number, is '5'"),
        ("always: {deadline_ms: .nan}", "always.deadline_ms: must be a number, is nan"),
        ("always: {price_max_usd: 1001}", "always.price_max_usd: must be at most 1000, is 1001"),
        ("always: {price_max_usd: true}", "always.price_max_usd: must be a number, is true"),
        ("always: {accuracy_min: {digits: 1.5}}", "always.accuracy_min.digits: must be at most 1, is 1.5"),
        ("always: {privacy: {no_training: no}}", "always.privacy.no_training: must be true or false, is 'no'"),
        ("always: {privacy: {retention_days_max: 1.5}}", "always.privacy.retention_days_max: must be a whole number, is 1.5"),
        ("always: {privacy: {certifications: iso}}", "always.privacy.certifications: must be a list, is 'iso'"),
        ("always: {privacy: {certifications: [27001]}}", "always.privacy.certifications[0]: must be text (in quotes, where it looks like another kind), is 27001"),
        ("always: [a]", "always: must be `key: value` lines, is a list"),
        ("always:", "always: must be `key: value` lines, is empty"),
        ("overrides: [{when: {days: []}}]", "overrides[0].when.days: holds 0 entries, at least 1 may stand here"),
        ("overrides: [{when: {since: soon}}]", "overrides[0].when.since: must be a date such as 2026-12-31, is 'soon'"),
        ("overrides: [{when: {since: 7}}]", "overrides[0].when.since: a date is written as 2026-12-31, got 7"),
        ("overrides: [{}]", "overrides[0].when: the key 'when' is missing (add it)"),
        ("version: 2", "version: 2 is not known here (known: 1)"),
        ("version: '1'", "version: '1' is not known here (it is written 1, without quotes)"),
        ("overrides: [{when: {zone: localtime}}]", "overrides[0].when.zone: no time zone is called 'localtime' (zones are called as Europe/Berlin is; tzdata brings them)"),
        (f"classes: {{{', '.join(f'c{n}: {{}}' for n in range(13))}}}", "classes: holds 13 entries, at most 12 may stand here"),
    ],
)  # fmt: skip
def test_a_fault_says_what_must_be_and_what_is(line: str, said: str) -> None:
    text = f"{line}\n"
    text += "" if line.startswith("classes") else "classes: {plain: {}}\n"
    text += "" if line.startswith("version") else "version: 1\n"
    text += "" if line.startswith("tenant") else "tenant: t\n"
    _, faults = examine(Document("f", text), Policy)
    assert [str(fault) for fault in faults] == [f"f:1: {said}"]


WRONG: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        True,
        "x" * 5000,
        "",
        -1,
        10**30,
        1.5,
        float("nan"),
        float("inf"),
        [],
        {},
        [None],
        {"a": 1},
        "[]",
        [[]],
        "2026-01-01",
    ]
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, part in inner for place in _places(part, (*at, key)))]


FULL = raw_policy(
    {
        "residency": {"entry": {"allow": ["DE"]}},
        "privacy": {"tiers": ["edge"], "operators": ["a"], "attestation": ["tdx"]},
    },
    models=["m"],
    classes={"c": {"deadline_ms": 1, "accuracy_min": {"m": 0.5}, "log": {"keep_days": 1}}},
    overrides=[
        {"when": {"models": ["m"], "hours": "01:00-02:00", "days": ["mon"], "zone": "UTC", "since": "2026-01-01"}}
    ],
    objective={"waiting": {"quantile": "p50"}, "exposure": {"usd_leaving_device": 0}},
    behaviour={"hedge": {"budget_share": 0.1}, "cache": {"ttl_s": 1, "scope": "key"}},
    limits={"concurrent_max": 1},
    claims=[{"never": {"processed": ["DE"]}}],
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from([(Policy, FULL), (Fleet, raw_fleet())]), st.data())
def test_no_value_anywhere_makes_a_fault_in_the_librarys_words(form: tuple[Any, Any], data: st.DataObject) -> None:
    model, raw = form
    at = data.draw(st.sampled_from(_places(raw)[1:]))
    spoilt = json.loads(json.dumps(raw))
    inner = spoilt
    for step in at[:-1]:
        inner = inner[step]
    inner[at[-1]] = data.draw(WRONG)
    document = Document("f", "")
    document.value, document.faults = spoilt, []
    _, faults = examine(document, model)
    for fault in faults:
        assert not [word for word in LIBRARY if word in str(fault)], fault
        assert fault.message
