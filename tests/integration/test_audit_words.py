"""Words of the audit: the index that finds them is used, and a PostgreSQL that cannot have it does without."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import event, insert, text

from data.sql.engine import Database
from data.sql.tables import AUDIT_WORDS, audit_entries
from trajops.audit import AuditQuery

AT = datetime(2026, 1, 1, tzinfo=UTC)
MANY = 3_000


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = f"sqlite:///{tmp_path / 'control.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    found = Database(url)
    found.migrate()
    yield found
    found.close()


def fill(database: Database) -> None:
    rows = [
        {
            "audit_id": f"{number:032x}",
            "at": AT + timedelta(seconds=number),
            "actor": "ada" if number % 2 else "ben",
            "action": "job.run",
            "subject": "prune",
            "reason": f"as every night {number}" + (" but for the Quokka" if number in {7, 2_000} else ""),
            "before": {},
            "after": {},
        }
        for number in range(MANY)
    ]
    with database.engine.begin() as connection:
        connection.execute(insert(audit_entries), rows)
        connection.execute(text("ANALYZE"))


def found(database: Database, **query: str) -> list[int]:
    with database.unit_of_work(read_only=True) as uow:
        return [int(entry.audit_id, 16) for entry in uow.audit.find(AuditQuery(**query), 50)]  # type: ignore[arg-type]


def plans(database: Database, **query: str) -> str:
    """The plans of all that is asked of the entries when these words are looked for, on PostgreSQL as among many more entries."""
    said: list[str] = []
    asked: list[tuple[str, object]] = []

    def explain(_connection: object, cursor: object, statement: str, parameters: object, *_: object) -> None:
        if "FROM audit_entries" in statement and not statement.startswith("EXPLAIN"):
            asked.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", explain)
    found(database, **query)
    event.remove(database.engine, "before_cursor_execute", explain)
    prefix = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
        for statement, parameters in asked:
            rows = connection.exec_driver_sql(prefix + statement, parameters)  # type: ignore[arg-type]
            said += [str(row[-1]) for row in rows]
    return "\n".join(said)


def test_a_rare_word_is_found_by_the_index_and_a_common_one_from_the_newest_entry_on(database: Database) -> None:
    fill(database)
    assert found(database, text="the quokka", actor="ada") == [7]
    for word, numbers in (("qUOKKA", [2_000, 7]), ("xylophone", [])):
        assert found(database, text=word) == numbers
        plan = plans(database, text=word)
        assert AUDIT_WORDS in plan, plan
        assert "Seq Scan" not in plan, plan
        assert "SCAN audit_entries USING INDEX" not in plan, plan
    assert found(database, text="every night") == list(range(MANY - 1, MANY - 51, -1))
    assert found(database, text="as", actor="ben")[:2] == [MANY - 2, MANY - 4]


def test_a_user_who_may_add_no_extension_searches_without_the_index(postgres_url: str) -> None:
    owner = Database(postgres_url)
    with owner.engine.begin() as connection:
        connection.execute(text("CREATE ROLE plain LOGIN"))
        connection.execute(text("GRANT ALL ON SCHEMA public TO plain"))
    plain = Database(postgres_url.replace("postgres@", "plain@"))
    try:
        plain.migrate()
        fill(plain)
        assert found(plain, text="quokka") == [2_000, 7]
        with plain.engine.connect() as connection:
            assert connection.execute(text(f"SELECT to_regclass('{AUDIT_WORDS}')")).scalar_one() is None
    finally:
        plain.close()
        with owner.engine.begin() as connection:
            connection.execute(text("DROP OWNED BY plain"))
            connection.execute(text("DROP ROLE plain"))
        owner.close()
