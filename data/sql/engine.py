"""The control state's database: connections, transactions and the upgrade of its schema."""

import errno
import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from data.sql.unit_of_work import SqlUnitOfWork
from trajops.errors import Conflict, EnvironmentProblem, InvalidInput, TrajOpsError, Unavailable

BUSY_TIMEOUT_S = 15.0  # of those whom nobody waits for
_MIGRATION_LOCK = 0x7472616A6F7073  # "trajops": the advisory lock that PostgreSQL keeps during an upgrade
_SERIALISATION_FAILURES = frozenset({"40001", "40P01"})


class Database:
    """One database, SQLite or PostgreSQL, named by its SQLAlchemy URL.

    Transactions begun on `engine` may write: on SQLite they take the write lock at once (BEGIN IMMEDIATE), so that what
    they have read stays true until they commit. Those of `reader` only read and wait for nobody.

    Args:
        url: SQLAlchemy URL.
        busy_timeout_s: longest wait for the write lock of SQLite; a process that answers somebody waits for less than they do.

    Raises:
        EnvironmentProblem: if the URL cannot be used, or the folder of an SQLite file cannot be made or written.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        try:
            self.url = make_url(url)
            self.is_sqlite = self.url.get_backend_name() == "sqlite"
            self.file = self._usable_file() if self.is_sqlite else None
            if self.is_sqlite:
                self.engine = create_engine(self.url, connect_args={"isolation_level": None, "timeout": busy_timeout_s})
            else:
                self.engine = create_engine(self.url, pool_pre_ping=True, connect_args={"connect_timeout": 5})
        except (ArgumentError, NoSuchModuleError, ImportError) as error:
            raise EnvironmentProblem(
                f"TRAJOPS_DATABASE_URL cannot be used ({error}); write sqlite:////folder/trajops.db or postgresql+psycopg://user@host/name "
                "and install the `postgres` extra for the latter"
            ) from error
        if self.is_sqlite:
            event.listen(self.engine, "connect", partial(_prepare_sqlite, busy_timeout_s))
            event.listen(self.engine, "begin", _begin_sqlite)
        self.reader: Engine = self.engine.execution_options(read_only=True, **({} if self.is_sqlite else {"postgresql_readonly": True}))

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def unit_of_work(self, *, read_only: bool = False) -> Iterator[SqlUnitOfWork]:
        """Repositories in one transaction: committed at a clean exit, rolled back otherwise.

        Raises:
            Conflict: if two transactions could not both be committed.
            Unavailable: if the database does not answer, or stays locked.
        """
        with self._translated(), (self.reader if read_only else self.engine).connect() as connection:
            transaction = connection.begin()
            try:
                yield SqlUnitOfWork(connection)
            except BaseException:
                transaction.rollback()
                raise
            transaction.rollback() if read_only else transaction.commit()

    def migrate(self) -> None:
        """Bring the schema up to date; safe when several processes start at once.

        Raises:
            EnvironmentProblem: if the database cannot be reached or written, or belongs to a newer release.
        """
        from alembic import command  # noqa: PLC0415 - half of the start-up time of a process that never migrates
        from alembic.config import Config  # noqa: PLC0415
        from alembic.util import CommandError  # noqa: PLC0415

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        try:
            with self._upgrade_lock(), self.engine.begin() as connection:
                if not self.is_sqlite:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise EnvironmentProblem(
                f"the database {self} was made by another release ({error}); start that release, or point TRAJOPS_DATABASE_URL elsewhere"
            ) from error
        except (SQLAlchemyError, OSError) as error:
            raise self._unreachable(error) from error

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()

    def _usable_file(self) -> Path:
        if not self.url.database or self.url.database == ":memory:":
            raise EnvironmentProblem("an SQLite database in memory cannot be shared between processes; name a file in TRAJOPS_DATABASE_URL")
        file = Path(self.url.database)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # A file that is there is not opened to find out: closing it would drop every lock that this process holds on it by POSIX, also
            # those of another `Database`, and then the next process to end takes the log away from under it.
            if not file.exists():
                file.touch()
            elif not os.access(file, os.R_OK | os.W_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            return file
        except OSError as error:
            raise EnvironmentProblem(
                f"the database {file} cannot be written ({error.strerror}); give this user the right to write to {file.parent}, "
                "or set TRAJOPS_VAR_DIR to another folder"
            ) from error

    @contextmanager
    def _upgrade_lock(self) -> Iterator[None]:
        if self.file is None:
            with nullcontext():
                yield
            return
        with self.file.with_name(self.file.name + ".lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _unreachable(self, error: Exception) -> EnvironmentProblem:
        cause = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        return EnvironmentProblem(
            f"the database {self} cannot be used ({cause}); start it, give this user access to it, or set TRAJOPS_DATABASE_URL to another"
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except TrajOpsError:
            raise
        except IntegrityError as error:
            raise Conflict(f"somebody else wrote the same thing at the same time ({error.orig}); read it again and repeat") from error
        except DataError as error:
            raise _not_kept(error.orig) from error
        except OverflowError as error:
            if "SQLite" not in str(error):
                raise
            raise _not_kept(error) from error
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) in _SERIALISATION_FAILURES:
                raise Conflict("two changes met in the database; read the present state and repeat") from error
            if _is_write_refused(error):
                raise RuntimeError("a unit of work opened with read_only=True cannot write") from error
            if error.connection_invalidated or _is_away(error):
                raise Unavailable(f"the database {self} does not answer ({str(error.orig).strip()}); try again") from error
            raise
        except PoolTimeout as error:
            raise Unavailable(f"all connections to the database {self} are in use; try again") from error


def _prepare_sqlite(busy_timeout_s: float, dbapi_connection: Any, _record: Any) -> None:
    cursor = dbapi_connection.cursor()
    try:
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        _enter_wal(cursor, busy_timeout_s)
        cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.execute("PRAGMA foreign_keys = ON")
    finally:
        cursor.close()


def _enter_wal(cursor: sqlite3.Cursor, busy_timeout_s: float) -> None:
    # SQLite does not wait (busy_timeout) while another process switches the same fresh file to WAL.
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    is_reading = bool(connection.get_execution_options().get("read_only"))
    connection.exec_driver_sql(f"PRAGMA query_only = {'ON' if is_reading else 'OFF'}")
    connection.exec_driver_sql("BEGIN" if is_reading else "BEGIN IMMEDIATE")


def _not_kept(cause: BaseException | None) -> InvalidInput:
    """What is in an id, a reason or a number that no column holds: NUL, or too large a number."""
    return InvalidInput(f"something that was sent cannot be kept in the database ({str(cause).strip().splitlines()[0]}); correct it")


def _is_write_refused(error: DBAPIError) -> bool:
    return getattr(error.orig, "sqlstate", None) == "25006" or getattr(error.orig, "sqlite_errorname", None) == "SQLITE_READONLY"


def _is_away(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.OperationalError):
        return error.orig.sqlite_errorname != "SQLITE_ERROR"  # that one is a mistake in a statement; the others are locks and disks
    # Class 08 is a broken connection, 53 a lack of resources, 57 an operator's shutdown; None: the server never answered.
    sqlstate = getattr(error.orig, "sqlstate", None)
    return type(error).__name__ == "OperationalError" and (sqlstate is None or sqlstate[:2] in {"08", "53", "57"})
