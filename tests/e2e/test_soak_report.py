"""What the report of a long run calls growth, and what not."""

from __future__ import annotations

import pytest
import soak_report


def measurements(hours, private):
    """Return an entry a minute of a service, by its memory in MB at each hour."""
    return [
        {
            "elapsed": minute * 60.0,
            "part": 0.0,
            "revision": "x",
            "program": "default",
            "services": {
                "worker": {
                    "pid": 1,
                    "rss": 90e6,
                    "pss": 60e6,
                    "private": private(minute / 60) * 1e6,
                    "fds": 20,
                    "threads": 4,
                }
            },
            "sizes": {},
            "outside": {"recordings": minute * 10, "log_bytes": 0},
        }
        for minute in range(round(hours * 60))
    ]


@pytest.mark.parametrize(
    ("hours", "private", "verdict"),
    [
        # A leak, even if slow.
        (24, lambda hour: 50 + 2 * hour / 24, "NO"),
        # A table that grew once, during the first 6,000 recordings.
        (24, lambda hour: 50 + (hour > 6), "yes"),
        # The same in a run that is too short to tell it from a leak.
        (2, lambda hour: 50 + (hour > 1.5), "not warm yet"),
        (2, lambda _hour: 50, "yes"),
    ],
)
def test_what_grows_for_ever_is_told_from_what_grows_once(
    tmp_path, hours, private, verdict
):
    report = tmp_path / "report.md"
    grew = soak_report.write(report, measurements(hours, private))
    (row,) = [it for it in report.read_text().splitlines() if "| worker |" in it]
    assert row.endswith(f"| {verdict} |")
    assert grew == (verdict == "NO")


def test_growth_is_also_told_for_the_recordings_of_a_day_by_default(tmp_path):
    report = tmp_path / "report.md"
    # Ten recordings a minute: 14,400 a day, for 8,640 by default.
    soak_report.write(report, measurements(24, lambda hour: 50 + 0.5 * hour / 24))
    (row,) = [it for it in report.read_text().splitlines() if "| worker |" in it]
    assert "| +0.50 ± 0.00 | +0.30 ± 0.00 |" in row


def test_a_run_that_has_just_begun_has_a_report(tmp_path):
    report = tmp_path / "report.md"
    assert not soak_report.write(report, measurements(1 / 60, lambda _hour: 50))
    assert "| too short |" in report.read_text()
