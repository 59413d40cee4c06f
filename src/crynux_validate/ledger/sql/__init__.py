"""A ledger in a database: SQLite by default, PostgreSQL when one machine is outgrown."""

from crynux_validate.ledger.sql.ledger import SqlLedger

__all__ = ["SqlLedger"]
