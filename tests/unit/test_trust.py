"""What may be learnt from, where some workers check drift and others learn."""

from datetime import UTC, datetime, timedelta

from data.stubs import MemoryDatabase
from trajops.drift.doubt import Span
from trajops.services.trust import Trust

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
WHOLE = Span(AT - timedelta(hours=1), AT)


def test_without_checks_here_or_elsewhere_everything_counts_that_was_not_found_wrong() -> None:
    with MemoryDatabase().unit_of_work() as work:
        assert Trust(is_checked=False).left_out(work, WHOLE) == []
        assert Trust(is_checked=True).left_out(work, WHOLE) == [WHOLE]


def test_checks_that_another_worker_makes_are_asked_for() -> None:
    with MemoryDatabase().unit_of_work() as work:
        work.jobs.describe("check_drift", "Compares traffic with the reference.", 30)
        assert Trust(is_checked=False).left_out(work, WHOLE) == [WHOLE]
