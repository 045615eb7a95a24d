"""Runs migrations on the connection that app.db.migrations hands over, with its time limits."""

from alembic import context


def run() -> None:
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection,
        version_table="migrations",
        version_table_schema="listo",
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
