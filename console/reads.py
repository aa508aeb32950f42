"""What several pages read alike."""

from datetime import UTC, datetime, timedelta

from console import session
from console.viewmodels import RANGES, ending_at
from trajops.contracts.performance import PerformanceOut

GRID = timedelta(seconds=2)


def read_performance(chosen: str) -> session.Fetched[PerformanceOut]:
    """Live figures of a time range, a key of RANGES."""

    def call(client: session.TrajOpsClient) -> PerformanceOut:
        return client.performance(*ending_at(datetime.now(UTC), RANGES[chosen], GRID))

    return session.fetch(f"performance:{chosen}", call)
