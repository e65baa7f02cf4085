"""Ten days of a daily job; `python -m load_tests.daily` goes on for longer."""

from pathlib import Path

from load_tests.daily import Job


def test_every_row_of_ten_days_is_learned_once_or_named_as_too_late(tmp_path: Path) -> None:
    job = Job(tmp_path, rows=400)

    days = list(job.days(10))

    assert [(day.twice, day.lost) for day in days] == [(0, 0)] * 11
    assert all(day.once + day.waiting + day.too_late == day.offered for day in days)
    assert all(day.waiting > 0 for day in days[:-1])
    assert (days[-1].offered, days[-1].waiting) == (4_000 + 3 * 20, 0)
    assert days[-1].too_late == 15
    assert [job.times_ms[row] for row in job.learned] == sorted(job.times_ms[row] for row in job.learned)
