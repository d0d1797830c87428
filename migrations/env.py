"""Alembic's entry: runs the versions against the address that `muster migrate` hands over."""

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

engine = create_engine(context.config.get_main_option("sqlalchemy.url") or "", poolclass=NullPool)

with engine.connect() as connection:
    # Two processes that start at once must not both create the tables.
    connection.exec_driver_sql("SELECT pg_advisory_lock(7001)")
    connection.commit()
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.exec_driver_sql("SELECT pg_advisory_unlock(7001)")
    connection.commit()
