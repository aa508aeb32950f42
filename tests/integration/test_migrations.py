"""The schema that migrations make, and databases that cannot be used."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import SchemaItem

from data.sql.engine import Database
from data.sql.tables import ONLY_ON, metadata
from tests.conftest import free_port
from trajops.errors import EnvironmentProblem, Unavailable
from trajops.services.identity import Identity

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'var' / 'control.db'}"
    found: str = request.getfixturevalue("postgres_url")
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


def differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        dialect = connection.dialect.name

        def is_of_this_database(one: SchemaItem, _name: str | None, _kind: str, is_reflected: bool, _other: SchemaItem | None) -> bool:
            return is_reflected or one.info.get(ONLY_ON, dialect) == dialect

        opts = {"compare_type": True, "compare_server_default": True, "include_object": is_of_this_database}
        context = MigrationContext.configure(connection, opts=opts)
        found: list[object] = compare_metadata(context, metadata)
        return found


def test_the_migrations_make_the_tables_of_the_code(database: Database) -> None:
    assert differences(database) != []
    database.migrate()
    assert differences(database) == []


def test_migrating_again_changes_nothing(database: Database) -> None:
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text("INSERT INTO job_schedules (job, description, every_s) VALUES ('j', 'd', 1.0)"))
    database.migrate()
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT job FROM job_schedules")).scalars().all() == ["j"]


def move(database: Database, direction: str, revision: str) -> None:
    """Bring the schema up or down to a revision."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(ROOT / "data" / "sql" / "migrations"))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        {"up": command.upgrade, "down": command.downgrade}[direction](config, revision)


def test_the_first_revision_can_be_taken_back(database: Database) -> None:
    database.migrate()
    move(database, "down", "base")
    assert inspect(database.engine).get_table_names() == ["alembic_version"]


OLD_KEY = """INSERT INTO api_keys (key_id, name, prefix, key_hash, role, created_at, expires_at, revoked_at)
VALUES (:id, 'robot', 'cafe', :hash, 'operator', '2026-11-24 10:00:00+00:00', NULL, NULL)"""


def test_keys_of_the_first_release_stay_what_they_are_and_it_goes_on_writing_them(database: Database) -> None:
    move(database, "up", "r0001")
    secrets = ("tok_before_x", "tok_after_x")
    with database.engine.begin() as connection:
        connection.execute(text(OLD_KEY), {"id": "before", "hash": hashlib.sha256(secrets[0].encode()).hexdigest()})
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text(OLD_KEY), {"id": "after", "hash": hashlib.sha256(secrets[1].encode()).hexdigest()})
    identity = Identity(database.unit_of_work, None, None)  # type: ignore[arg-type] - keys need neither passwords nor tokens
    for secret in secrets:
        client = identity.authenticate(secret)
        assert client.may == {"predict", "observe", "read", "operate"}
        assert client.limit is None
    with database.unit_of_work() as uow:
        assert [key.last_used_at is not None for key in uow.api_keys.all()] == [True, True]
        assert uow.api_keys.revoke("before", datetime.now(UTC)).revoked_at is not None


def test_the_second_revision_can_be_taken_back_alone(database: Database) -> None:
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text(OLD_KEY), {"id": "kept", "hash": "0" * 64})
    move(database, "down", "r0001")
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT key_id FROM api_keys")).scalars().all() == ["kept"]
    assert {column["name"] for column in inspect(database.engine).get_columns("api_keys")}.isdisjoint({"scopes", "successor_id"})


def test_a_lease_of_the_release_before_lasts_until_it_expires_and_its_holder_renews_it(database: Database) -> None:
    move(database, "up", "r0012")
    lease = "INSERT INTO job_leases (job, holder, fence, expires_at) VALUES ('compact', 'old', 7, :at)"
    at = datetime(2026, 1, 1, tzinfo=UTC)
    with database.engine.begin() as connection:
        connection.execute(text(lease), {"at": "2026-01-01 00:05:00+00:00"})
    database.migrate()
    with database.unit_of_work() as uow:
        assert uow.leases.acquire("compact", "new", at, at + timedelta(seconds=10)) is None
        assert uow.leases.renew("compact", "old", 7, at, at + timedelta(seconds=60))
        assert uow.leases.acquire("compact", "new", at + timedelta(seconds=60), at + timedelta(seconds=70)) == 8


@pytest.mark.slow
def test_processes_may_migrate_at_once(url: str) -> None:
    script = "import sys; from data.sql.engine import Database; Database(sys.argv[1]).migrate()"
    started = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", script, url], cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    ends = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    assert [code for _, code in ends] == [0] * 4, ends
    database = Database(url)
    assert differences(database) == []
    with database.engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    database.close()


def test_a_database_of_a_newer_release_is_refused(database: Database) -> None:
    database.migrate()
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = 'r9999'"))
    with pytest.raises(EnvironmentProblem, match="another release"):
        database.migrate()


def test_sqlite_runs_in_wal_mode_with_foreign_keys(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    with database.engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        assert [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas] == ["wal", 1, 1, 15_000]
    database.close()


def test_a_writing_transaction_has_the_write_lock_from_its_start(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    database.migrate()
    with database.unit_of_work(), closing(sqlite3.connect(tmp_path / "control.db", timeout=0, isolation_level=None)) as other:
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        assert other.execute("SELECT count(*) FROM routes").fetchone() == (0,)
    database.close()


def test_a_second_one_in_a_process_leaves_the_locks_of_the_first(tmp_path: Path) -> None:
    """Else the next process to end believes that it was the last, and deletes the log that is still written to."""
    url = f"sqlite:///{tmp_path / 'control.db'}"
    first = Database(url)
    first.migrate()
    second = Database(url)
    code = "import sys; from data.sql.engine import Database as D; d = D(sys.argv[1]); d.migrate(); d.close()"
    subprocess.run([sys.executable, "-c", code, url], cwd=ROOT, check=True)
    assert (tmp_path / "control.db-wal").exists()
    for database in (first, second):
        database.close()


# Databases that cannot be used


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file where the folder should be")
    with pytest.raises(EnvironmentProblem, match=r"control\.db cannot be written.*TRAJOPS_VAR_DIR"):
        Database(f"sqlite:///{tmp_path / 'var' / 'control.db'}")


def test_a_folder_that_nobody_may_write_is_named() -> None:
    with pytest.raises(EnvironmentProblem, match=r"/proc/control\.db cannot be written.*TRAJOPS_VAR_DIR"):
        Database("sqlite:////proc/control.db")


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "control.db").write_bytes(b"this is not a database" * 100)
    database = Database(f"sqlite:///{tmp_path / 'control.db'}")
    with pytest.raises(EnvironmentProblem, match="not a database"):
        database.migrate()
    database.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "no url", "oracle9://x", "mysql+nothing://x"])
def test_a_url_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(EnvironmentProblem, match="TRAJOPS_DATABASE_URL"):
        Database(url)


def test_a_server_that_is_away_is_named_without_its_password() -> None:
    database = Database(f"postgresql+psycopg://ada:hidden@127.0.0.1:{free_port()}/control")
    with pytest.raises(EnvironmentProblem, match="cannot be used") as problem:
        database.migrate()
    assert "hidden" not in problem.value.message
    with pytest.raises(Unavailable) as away, database.unit_of_work(read_only=True):
        pass
    assert "hidden" not in away.value.message
    database.close()


def test_a_database_without_tables_is_no_outage(database: Database) -> None:
    with pytest.raises(DBAPIError, match="routes"), database.unit_of_work(read_only=True) as uow:
        uow.routes.epoch()


def test_a_server_that_goes_and_comes_back_is_used_again(postgres_url: str) -> None:
    database = Database(postgres_url)
    database.migrate()
    with pytest.raises(Unavailable), database.unit_of_work() as uow:
        uow.connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    with database.unit_of_work(read_only=True) as uow:
        assert uow.routes.epoch() == 0
    database.close()
