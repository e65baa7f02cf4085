import pytest

from ranker.event_times import TimeRange, time_text

NOW_MS = 1_750_000_000_000
TIMES = TimeRange.plausible(NOW_MS)


@pytest.mark.parametrize(
    ("time_ms", "plausible"),
    [
        (946_684_799_999, False),
        (946_684_800_000, True),
        (NOW_MS + 86_400_000, True),
        (NOW_MS + 86_400_001, False),
    ],
)
def test_times_from_2000_to_a_day_from_now_are_plausible(time_ms: int, plausible: bool) -> None:
    assert (time_ms in TIMES) is plausible


def test_a_bound_that_is_given_replaces_its_own_default_alone() -> None:
    assert TimeRange.plausible(NOW_MS, since_ms=0) == TimeRange(0, TIMES.until_ms, until_now=True)
    assert TimeRange.plausible(NOW_MS, until_ms=9) == TimeRange(TIMES.since_ms, 9)


def test_a_time_that_is_known_to_be_right_widens_the_range() -> None:
    assert TIMES.including(NOW_MS) == TIMES
    assert TIMES.including(5).since_ms == 5
    later = NOW_MS + 10**12
    assert TIMES.including(later) == TimeRange(TIMES.since_ms, later + 86_400_001, until_now=True)


@pytest.mark.parametrize(
    ("found", "meant"),
    [
        (
            NOW_MS // 1000,
            "found 1750000000 (1970-01-21T06:06:40Z), as seconds it would be 2025-06-15T15:06:40Z",
        ),
        (NOW_MS * 1000, "(after the year 9999), as microseconds it would be 2025-06-15T15:06:40Z"),
        (NOW_MS * 10**6, "(after the year 9999), as nanoseconds it would be 2025-06-15T15:06:40Z"),
        (20_254, "found 20254 (1970-01-01T00:00:20Z), as days it would be 2025-06-15T00:00:00Z"),
        (0, "found 0 (1970-01-01T00:00:00Z)"),
        (NOW_MS + 365 * 86_400_000, "found 1781536000000 (2026-06-15T15:06:40Z)"),
        (-(10**18), "(before the year 1)"),
    ],
)
def test_the_unit_that_was_probably_meant_is_named(found: int, meant: str) -> None:
    message = TIMES.mistake(found)

    assert message.endswith(meant)
    assert message.startswith(
        "expected 'time_ms' in milliseconds since 1970, from 2000-01-01T00:00:00Z "
        f"to before 2025-06-16T15:06:40Z, found {found} ("
    )


def test_times_beyond_any_calendar_have_a_text() -> None:
    assert time_text(10**400) == "after the year 9999"
