"""What is remembered: records and events in SQLite or PostgreSQL, one code path for both."""

from guesthouse.store.sql_store import SqlStore, open_store

__all__ = ["SqlStore", "open_store"]
