"""Server-sent events: however they are cut and ended, the same data comes out, and nothing is kept without bound."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infercast.router.upstream.sse import EVENT_BYTES_MAX, LINE_BYTES_MAX, BadEvents, Events

LINE = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=20).map(str.encode)
EVENTS = st.lists(st.lists(LINE, min_size=1, max_size=3), max_size=6)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
NOISE = st.sampled_from([b"", b": a comment", b"event: delta", b"id: 7", b"retry: 10", b"nonsense", b"datum: x"])


def written(events: list[list[bytes]], ends: bytes, noise: list[bytes], space: bytes) -> bytes:
    text = b""
    for number, lines in enumerate(events):
        extra = noise[number % len(noise)]
        text += (extra + ends if extra else b"") + b"".join(b"data:" + space + line + ends for line in lines) + ends
    return text


@given(EVENTS, ENDS, st.lists(NOISE, min_size=1), st.lists(st.integers(1, 9)), st.booleans())
def test_events_come_out_as_they_went_in_however_they_are_cut(
    events: list[list[bytes]], ends: bytes, noise: list[bytes], cuts: list[int], bom: bool
) -> None:
    text = (b"\xef\xbb\xbf" if bom else b"") + written(events, ends, noise, b" ")
    reader, found, at = Events(), [], 0
    for cut in cuts:
        found += reader.feed(text[at : at + cut])
        at += cut
    found += reader.feed(text[at:])
    if ends == b"\r":  # the last CR may be half of an end of line until something follows
        found += reader.feed(b"\r")
    assert found == [b"\n".join(lines) for lines in events]
    assert not reader.unfinished or not events


def test_a_space_is_taken_off_once_and_missing_ones_are_no_fault() -> None:
    assert Events().feed(b"data:a\n\ndata: a\n\ndata:  a\n\ndata\n\n") == [b"a", b"a", b" a", b""]


def test_an_event_that_has_not_ended_is_not_given_out() -> None:
    reader = Events()
    assert reader.feed(b"data: {}\n") == []
    assert reader.unfinished


@pytest.mark.parametrize("piece", [b"x" * 1000, b"x" * 7])
def test_a_line_without_end_is_refused_before_it_fills_memory(piece: bytes) -> None:
    reader, fed = Events(), 0
    while fed + len(piece) <= LINE_BYTES_MAX:
        assert reader.feed(piece) == []
        fed += len(piece)
    with pytest.raises(BadEvents, match="a line of more than"):
        reader.feed(piece)


def test_an_event_without_end_is_refused() -> None:
    reader, line = Events(), b"data: " + b"x" * 100_000 + b"\n"
    for _ in range(EVENT_BYTES_MAX // 100_000):
        assert reader.feed(line) == []
    with pytest.raises(BadEvents, match="an event of more than"):
        reader.feed(line)


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_are_events_or_refused(parts: list[bytes]) -> None:
    reader = Events()
    for part in parts:
        for data in reader.feed(part):
            assert b"\n\n" not in part or isinstance(data, bytes)
