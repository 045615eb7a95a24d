"""The largest size of a collection's records, so that reads take no more memory than there is."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    # Rows are only added: each collection has a few, of which the largest counts.
    "CREATE TABLE listo.record_sizes (collection uuid NOT NULL, bytes bigint NOT NULL)",
    "CREATE INDEX record_sizes_collection ON listo.record_sizes (collection)",
    # The sizes of present records: unpacked only where that may be much, one record at a time.
    """
    DO $$
    DECLARE
        c record;
        largest bigint;
    BEGIN
        FOR c IN SELECT id, name FROM listo.collections LOOP
            EXECUTE format($sql$
                SELECT max(CASE
                    WHEN pg_column_compression(data) IS NULL THEN 2 * pg_column_size(data)
                    WHEN pg_column_size(data) <= 8192 THEN 90 * pg_column_size(data)
                    ELSE 2 * octet_length(data::text)
                END) FROM records.%I
            $sql$, c.name) INTO largest;
            IF largest > 8192 THEN
                INSERT INTO listo.record_sizes VALUES (c.id, largest);
            END IF;
        END LOOP;
    END
    $$
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
