"""Control state in SQL: SQLite in WAL mode by default, PostgreSQL in production."""
