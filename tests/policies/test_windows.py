"""Time windows: hours past midnight, days that own them, clocks that are set, and periods in which nothing changes."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infercast.policies.windows import ALWAYS, DAY_S, KNOWN_UNTIL_S, Window, common_period, known_zone, minutes_of

BERLIN = "Europe/Berlin"
ZONES = ("UTC", BERLIN, "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns")


def at(text: str) -> int:
    """Seconds since 1970 of a UTC time such as `2026-11-24 22:00`."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def night(zone: str = "UTC", **parts: object) -> Window:
    return Window(minutes=minutes_of("22:00-06:00"), zone=zone, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("hours", "time", "holds"),
    [
        ("08:00-12:00", "07:59:59", False),
        ("08:00-12:00", "08:00:00", True),
        ("08:00-12:00", "11:59:59", True),
        ("08:00-12:00", "12:00:00", False),
        ("22:00-06:00", "21:59:59", False),
        ("22:00-06:00", "22:00:00", True),
        ("22:00-06:00", "00:00:00", True),
        ("22:00-06:00", "05:59:59", True),
        ("22:00-06:00", "06:00:00", False),
        ("22:00-24:00", "23:59:59", True),
        ("22:00-24:00", "00:00:00", False),
        ("22:00-00:00", "23:59:59", True),
        ("22:00-00:00", "00:00:00", False),
        ("00:00-24:00", "00:00:00", True),
    ],
)
def test_hours_begin_with_their_first_minute_and_end_before_their_last(hours: str, time: str, holds: bool) -> None:
    assert Window(minutes=minutes_of(hours)).holds(at(f"2026-11-24 {time}")) is holds


def test_hours_past_midnight_belong_to_the_day_they_begin_on() -> None:
    friday = night(days=frozenset({4}))
    assert friday.holds(at("2026-11-27 23:00"))  # a Friday
    assert friday.holds(at("2026-11-28 05:00"))
    assert not friday.holds(at("2026-11-27 05:00"))
    assert not friday.holds(at("2026-11-28 23:00"))
    once = night(since=date(2026, 11, 27), until=date(2026, 11, 27))
    assert [once.holds(at(f"2026-11-{day}")) for day in ("27 03:00", "27 22:00", "28 03:00", "28 22:00")] == [
        False,
        True,
        True,
        False,
    ]


def test_first_and_last_day_are_inside() -> None:
    window = Window(since=date(2026, 12, 1), until=date(2026, 12, 2), zone=BERLIN)
    assert not window.holds(at("2026-11-30 22:59:59"))
    assert window.holds(at("2026-11-30 23:00"))  # midnight in Berlin
    assert window.holds(at("2026-12-02 22:59:59"))
    assert not window.holds(at("2026-12-02 23:00"))


def test_the_clock_is_the_zones_in_winter_and_in_summer() -> None:
    morning = Window(minutes=minutes_of("08:00-09:00"), zone=BERLIN)
    assert [hour for hour in range(24) if morning.holds(at(f"2026-01-15 {hour:02}:30"))] == [7]
    assert [hour for hour in range(24) if morning.holds(at(f"2026-07-15 {hour:02}:30"))] == [6]


def test_an_hour_that_comes_twice_is_inside_twice() -> None:
    # On 2026-10-25 Berlin's clocks go from 03:00 back to 02:00, at 01:00 UTC.
    window = Window(minutes=minutes_of("02:30-03:00"), zone=BERLIN)
    inside = [minute for minute in range(180) if window.holds(at("2026-10-25 00:00") + 60 * minute)]
    assert inside == [*range(30, 60), *range(90, 120)]
    assert window.period(at("2026-10-25 00:59")) == (at("2026-10-25 00:30"), at("2026-10-25 01:00"))
    assert window.period(at("2026-10-25 01:10")) == (at("2026-10-25 01:00"), at("2026-10-25 01:30"))


def test_an_hour_that_never_comes_is_never_inside() -> None:
    # On 2026-03-29 Berlin's clocks go from 02:00 on to 03:00, at 01:00 UTC.
    lost = Window(minutes=minutes_of("02:00-03:00"), zone=BERLIN)
    assert not any(lost.holds(at("2026-03-29 00:00") + 60 * minute) for minute in range(240))
    cut = Window(minutes=minutes_of("01:30-02:30"), zone=BERLIN)
    assert cut.period(at("2026-03-29 00:45")) == (at("2026-03-29 00:30"), at("2026-03-29 01:00"))


WINDOWS = st.builds(
    Window,
    minutes=st.none() | st.lists(st.integers(0, 1439), min_size=2, max_size=2, unique=True).map(tuple),
    days=st.none() | st.frozensets(st.integers(0, 6), min_size=1),
    since=st.none() | st.dates(date(2026, 3, 27), date(2026, 4, 2)),
    until=st.none() | st.dates(date(2026, 3, 28), date(2026, 11, 3)),
    zone=st.sampled_from(ZONES),
)
# Days around which clocks are set in these zones, and plain ones.
DAYS = st.sampled_from(
    ["2026-03-08", "2026-03-29", "2026-04-05", "2026-10-04", "2026-10-25", "2026-11-01", "2026-06-10"]
)


@settings(deadline=None, max_examples=40)
@given(WINDOWS, DAYS)
def test_a_day_is_cut_exactly_where_the_window_opens_or_closes(window: Window, day: str) -> None:
    start = at(day)
    held = [window.holds(start + 60 * minute) for minute in range(1440)]
    edges = [start + 60 * minute for minute in range(1, 1440) if held[minute] != held[minute - 1]]
    periods, cursor = [], start
    while cursor < start + DAY_S:
        periods.append(window.period(cursor))
        cursor = periods[-1][1]
    assert [until for _, until in periods] == [*edges, start + DAY_S]
    assert [begin for begin, _ in periods] == [start, *edges]


@settings(deadline=None, max_examples=60)
@given(st.lists(WINDOWS, max_size=4), st.integers(1, KNOWN_UNTIL_S - 1), st.data())
def test_nothing_changes_within_a_period(windows: list[Window], at_s: int, data: st.DataObject) -> None:
    from_s, until_s = common_period(windows, at_s)
    assert from_s <= at_s < until_s
    other = data.draw(st.integers(max(from_s, 1), min(until_s, KNOWN_UNTIL_S) - 1))
    assert [window.holds(other) for window in windows] == [window.holds(at_s) for window in windows]
    assert common_period(windows, other) == (from_s, until_s)


@pytest.mark.parametrize("at_s", [0, -1, -(2**61), KNOWN_UNTIL_S, 2**61])
def test_at_an_unknown_time_every_window_is_open(at_s: int) -> None:
    window = Window(minutes=(60, 61), days=frozenset({2}), since=date(2026, 1, 1), until=date(2026, 1, 2))
    assert window.holds(at_s)
    from_s, until_s = window.period(at_s)
    assert from_s <= at_s < until_s
    assert not from_s <= at("2026-01-01 00:00") < until_s


def test_without_windows_nothing_ever_changes() -> None:
    assert common_period((), 5) == common_period((), -5) == ALWAYS


@pytest.mark.parametrize(
    "text", ["", "22-06", "22:00", "9:00-10:00", "22:60-23:00", "25:00-26:00", "10:00-10:00", "24:00-01:00"]
)
def test_hours_that_cannot_be_are_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="hours"):
        minutes_of(text)


@pytest.mark.parametrize(
    "name", ["", "Berlin", "localtime", "../../etc/passwd", "/etc/localtime", "Europe", "posix/Europe/Berlin", "a\0b/c"]
)
def test_a_clock_that_is_not_the_same_everywhere_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no time zone is called"):
        known_zone(name)


def test_a_misspelt_zone_is_named() -> None:
    with pytest.raises(ValueError, match="did you mean 'Europe/Berlin'"):
        known_zone("Europe/Berln")
    assert [known_zone(name) for name in ZONES] == list(ZONES)
