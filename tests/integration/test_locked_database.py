"""A database that somebody holds locked: who waits how long, and that the API's own words reach the operator."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from api.readying import READY_S
from api.wiring import DATABASE_WAIT_S
from console import session
from data.sql.engine import BUSY_TIMEOUT_S, Database
from tests.running_api import PASSWORD, REASON
from tests.served_api import Served, served_api
from trajops import client
from trajops.client.routes import READ_S
from trajops.errors import Unavailable


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with served_api(tmp_path) as served:
        served.api.parts.identity.create_user("op", PASSWORD, "operator", actor="test", reason=REASON)
        yield served


@pytest.mark.parametrize("read_s", [session.READ_S, READ_S], ids=["page", "client"])
def test_the_api_gives_up_before_who_asks_it(read_s: float) -> None:
    """A promotion may wait for its model and then for the database; two seconds stay for everything else."""
    assert read_s > READY_S + DATABASE_WAIT_S + 2
    assert DATABASE_WAIT_S < BUSY_TIMEOUT_S  # the workers are patient: nobody waits for them


def test_a_promotion_while_the_database_is_locked_is_answered_in_time(served: Served) -> None:
    served.api.register(1)
    with client.TrajOpsClient(f"http://127.0.0.1:{served.port}") as anonymous:
        token = anonymous.sign_in("op", PASSWORD).access_token
    with client.TrajOpsClient(f"http://127.0.0.1:{served.port}", token, read_s=session.READ_S, attempts=1) as operator:
        staged = operator.stage(1, REASON).deployment
        database = served.api.parts.database.file
        assert database is not None
        with closing(sqlite3.connect(database, isolation_level=None)) as holder:
            holder.execute("BEGIN EXCLUSIVE")
            started_s = time.monotonic()
            with pytest.raises(client.ApiProblem) as refused:
                operator.promote(staged.deployment_id, staged.version, REASON)
            assert time.monotonic() - started_s < session.READ_S
            assert (refused.value.status, refused.value.code) == (503, "unavailable")
            assert "database is locked" in refused.value.detail
            holder.execute("ROLLBACK")
        assert operator.promote(staged.deployment_id, staged.version, REASON).deployment.state == "live"


def test_a_database_waits_for_a_lock_as_long_as_it_is_told(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}", busy_timeout_s=0.2)
    database.migrate()
    with closing(sqlite3.connect(tmp_path / "control.db", isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        started_s = time.monotonic()
        with pytest.raises(Unavailable, match="locked"), database.unit_of_work():
            pass
        assert 0.1 < time.monotonic() - started_s < 3
        with database.unit_of_work(read_only=True) as uow:
            assert uow.deployments.all() == []
    database.close()
