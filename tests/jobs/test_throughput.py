"""The picture of a day is what BullMQ counted by the minute."""

from datetime import UTC, datetime, timedelta

from muster.jobs.throughput_chart import picture
from muster.platform.queue_view import bars

NOW = datetime(2026, 3, 30, 14, 7, 30, tzinfo=UTC)


def ms(moment: datetime) -> bytes:
    return str(int(moment.timestamp() * 1000)).encode()


def test_the_minute_being_counted_stands_in_the_newest_bar():
    drawn = bars([b"12", ms(NOW), b"7", [b"3", b"0", b"2"]], NOW)

    assert drawn[-1] == 5 + 3 + 2
    assert sum(drawn) == 10


def test_a_quiet_hour_moves_what_was_counted_before_to_the_left():
    drawn = bars([b"4", ms(NOW - timedelta(hours=1)), b"0", [b"6"] * 8], NOW)

    assert drawn[-5:] == [4 + 6 * 7, 0, 0, 0, 0]
    assert drawn[-6] == 6


def test_what_is_older_than_a_day_or_was_never_counted_is_left_out():
    assert sum(bars([b"9", ms(NOW - timedelta(days=2)), b"0", [b"1"] * 90], NOW)) == 0
    assert bars([None, None, None, []], NOW) == [0] * 96


def test_one_failure_among_thousands_is_still_seen():
    drawn = picture("crm", [0] * 95 + [5000], [0] * 95 + [1], NOW)

    assert "14:00 UTC: 5,000 completed, 1 failed" in drawn
    assert 'class="broken" d="M95' in drawn
