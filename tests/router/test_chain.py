"""The chain: a line read back is the line written, only exact bytes are taken, and erasing a body keeps its link."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from infercast.router.telemetry import chain
from infercast.router.telemetry.chain import KINDS, Malformed, first_prev, new_line, raw_lines, read_line, without_body

WHOLES = st.integers(0, 2**53 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
BODIES = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), JSON, max_size=4)
PREV = first_prev("fra-1-1.jsonl")


@given(WHOLES, st.sampled_from(sorted(KINDS)), WHOLES, st.none() | WHOLES, BODIES)
def test_a_line_read_back_is_the_line_written(
    seq: int, kind: str, at_s: int, keep: int | None, body: dict[str, Any]
) -> None:
    raw, head = new_line(PREV, seq, kind, at_s, keep, orjson.dumps(body))
    assert raw.endswith(b"\n")
    assert raw.count(b"\n") == 1
    line = read_line(raw[:-1])
    assert (line.seq, line.kind, line.at_s, line.keep_until_s, line.prev) == (seq, kind, at_s, keep, PREV)
    assert line.body == body
    assert line.holds()
    assert line.head == head


@given(WHOLES, st.none() | WHOLES, BODIES)
def test_an_erased_body_leaves_the_link_and_nothing_to_guess_it_by(
    seq: int, keep: int | None, body: dict[str, Any]
) -> None:
    raw, head = new_line(PREV, seq, "decision", 5, keep, orjson.dumps(body))
    bare = read_line(without_body(read_line(raw[:-1]))[:-1])
    assert bare.head == head
    assert (bare.body, bare.salt) == (None, None)
    again, _ = new_line(PREV, seq, "decision", 5, keep, orjson.dumps(body))
    assert read_line(again[:-1]).digest != bare.digest  # the same body, another salt


@given(st.binary(max_size=200))
@example(b"")
@example(b"{}")
@example(b"[" * 5000)
@example(b'{"a":' * 5000)
@example(b'{"seq":1e400}')
@example(b"\xff\xfe{}")
@example(b'{"seq":"\\ud800"}')
@example(b"\x00" * 100)
def test_rubbish_is_never_a_line(raw: bytes) -> None:
    with pytest.raises(Malformed):
        read_line(raw)


@given(st.data())
def test_no_other_bytes_are_the_same_line(data: st.DataObject) -> None:
    raw, head = new_line(PREV, 3, "decision", 5, 9, b'{"a":[1,2.5,"x"],"b":null}')
    changed = bytearray(raw[:-1])
    at = data.draw(st.integers(0, len(changed) - 1))
    match data.draw(st.sampled_from(["put", "drop", "set"])):
        case "put":
            changed.insert(at, data.draw(st.integers(0, 255)))
        case "drop":
            del changed[at]
        case _:
            changed[at] ^= data.draw(st.integers(1, 255))
    try:
        line = read_line(bytes(changed))
    except Malformed:
        return
    # `prev` is held against the line before, and all else is in the head or in the digest
    assert line.prev != PREV or line.head != head or not line.holds()


FIELDS = st.sampled_from(["seq", "kind", "at", "keep", "prev", "digest", "salt", "body", "more"])


@given(FIELDS, JSON)
def test_a_field_of_another_shape_is_malformed_or_breaks_the_chain(field: str, value: Any) -> None:
    raw, head = new_line(PREV, 3, "decision", 5, 9, b'{"a":1}')
    whole = {**orjson.loads(raw), field: value}
    if orjson.dumps(whole) + b"\n" == raw:
        return
    try:
        line = read_line(orjson.dumps(whole))
    except (Malformed, TypeError):
        return
    assert line.prev != PREV or line.head != head or not line.holds()


@pytest.mark.parametrize(
    ("kind", "gone"),
    [("decision", "salt"), ("decision", "body"), ("open", "body"), ("decision", "digest"), ("open", "at")],
)
def test_a_line_that_lacks_a_part_is_malformed(kind: str, gone: str) -> None:
    whole = orjson.loads(new_line(PREV, 0, kind, 5, None, b"{}")[0])
    del whole[gone]
    with pytest.raises(Malformed):
        read_line(orjson.dumps(whole))


def test_keys_in_another_order_or_twice_are_malformed() -> None:
    raw, _ = new_line(PREV, 0, "open", 5, None, b'{"a":1}')
    whole = orjson.loads(raw)
    with pytest.raises(Malformed, match="other fields"):
        read_line(orjson.dumps(dict(reversed(whole.items()))))
    with pytest.raises(Malformed, match="form that it was written in"):
        read_line(raw[:-1].replace(b'{"a":1}', b'{"a":1,"a":1}'))


def test_each_part_of_a_line_changes_the_head() -> None:
    heads = {
        chain.head_after(*parts)
        for parts in [
            ("p", 1, "decision", 5, 9, "d"), ("q", 1, "decision", 5, 9, "d"), ("p", 2, "decision", 5, 9, "d"),
            ("p", 1, "snapshot", 5, 9, "d"), ("p", 1, "decision", 6, 9, "d"), ("p", 1, "decision", 5, 8, "d"),
            ("p", 1, "decision", 5, None, "d"), ("p", 1, "decision", 5, 9, "e"),
        ]
    }  # fmt: skip
    assert len(heads) == 8
    assert first_prev("a.jsonl") != first_prev("b.jsonl")


def test_the_head_is_the_documented_hash() -> None:
    import base64
    import hashlib

    raw, head = new_line(PREV, 7, "decision", 5, 9, b'{"a":1}')
    line = orjson.loads(raw)
    digest = hashlib.sha256(f'{line["salt"]}\n{{"a":1}}'.encode()).digest()
    assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == line["digest"]
    said = hashlib.sha256(f"{PREV}\n7\ndecision\n5\n9\n{line['digest']}".encode()).digest()
    assert base64.urlsafe_b64encode(said).decode().rstrip("=") == head


def test_a_huge_line_is_refused_without_being_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "LINE_BYTES_MAX", 100)
    path = tmp_path / "huge"
    path.write_bytes(b"x" * 99 + b"\n" + b"y" * 5000)
    lines = raw_lines(path)
    assert next(lines) == (b"x" * 99, True)
    with pytest.raises(Malformed, match="longer than"):
        next(lines)
