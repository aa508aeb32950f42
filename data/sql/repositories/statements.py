"""Statements that SQLite and PostgreSQL spell alike but SQLAlchemy keeps apart."""

from importlib import import_module
from typing import TYPE_CHECKING, TypeAlias

from sqlalchemy import Connection, Table

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    Upsert: TypeAlias = postgresql.Insert | sqlite.Insert


def insert_or(connection: Connection, table: Table) -> "Upsert":
    """An INSERT that knows ON CONFLICT, in the connection's dialect; the other one is not loaded."""
    insert: Upsert = import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)
    return insert
