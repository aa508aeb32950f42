"""From a verdict that is written to a mail and a Slack message that have arrived, through a real worker process.

The worker looks at the rules every two seconds, so the moments of the verdicts are spread over that interval. The value is the
longest time of all, seconds, over mail and Slack.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.record import Measurement
from data.sql.engine import Database
from tests.alert_builders import CHAT
from tests.alert_receivers import a_mail_server, a_slack_sink, wait_for
from tests.alert_workers import a_worker, configure, write_verdict

ALERTS = 24
LOOK_S = 2.0


def run(alerts: int = ALERTS) -> Measurement:
    """Let drift come and go."""
    spread = random.Random(7)
    taken: dict[str, list[float]] = {"mail": [], "slack": []}
    with tempfile.TemporaryDirectory() as name, a_slack_sink() as slack:
        folder = Path(name)
        url = f"sqlite:///{folder / 'control.db'}"
        database = Database(url)
        database.migrate()
        with a_mail_server(folder) as mail:
            quiet = {"is_told_of_ends": False}
            configure(folder, [mail.receiver(**quiet), {**CHAT, **quiet}])
            with a_worker(folder, url, CHAT_URL=slack.url):
                for number in range(1, alerts + 1):
                    time.sleep(spread.uniform(0, LOOK_S))
                    at = write_verdict(database, "drift").timestamp()
                    wait_for(lambda number=number: len(mail.times) >= number and len(slack.times) >= number, "the notification")
                    taken["mail"].append(mail.times[-1] - at)
                    taken["slack"].append(slack.times[-1] - at)
                    write_verdict(database, "stable")
                    wait_for(lambda: _is_over(database), "the end")
        database.close()
    details = {
        f"{receiver}_{what}_s": round(value, 2)
        for receiver, values in taken.items()
        for what, value in (("p50", statistics.median(values)), ("p95", sorted(values)[int(0.95 * len(values))]), ("max", max(values)))
    }
    doubles = len(mail.received) + len(slack.received) - 2 * alerts
    return Measurement(max(max(values) for values in taken.values()), {**details, "alerts": alerts, "doubles": doubles})


def _is_over(database: Database) -> bool:
    with database.unit_of_work(read_only=True) as uow:
        return not uow.alerts.unresolved()
