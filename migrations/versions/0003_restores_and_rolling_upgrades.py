"""The order of events outlives a restore, and an old release knows whether it may run on a newer schema.

Why: a restored database gives transaction numbers that readers of the feed have passed already. `feed_xid()` and `feed_horizon()`
stand between the events and PostgreSQL's own numbers, so that `staffetta restored` can put a new era before them. `schema_floor` names
the oldest revision whose release may still run.
Lock: ACCESS EXCLUSIVE on events and its partitions for the change of a default, which reads no row. Old releases go on: the
default is the server's, and both functions give what they called themselves.

Revision: 0003, after 0002
"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE FUNCTION feed_xid() RETURNS xid8 LANGUAGE sql STABLE AS 'SELECT pg_catalog.pg_current_xact_id()'")
    op.execute(
        "CREATE FUNCTION feed_horizon() RETURNS xid8 LANGUAGE sql STABLE PARALLEL SAFE"
        " AS 'SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())'"
    )
    op.execute("ALTER TABLE events ALTER COLUMN xid SET DEFAULT feed_xid()")
    op.create_table('schema_floor',
    sa.Column('one', sa.Boolean(), server_default='true', nullable=False),
    sa.Column('oldest_revision', sa.Text(), nullable=False),
    sa.CheckConstraint('one', name=op.f('ck_schema_floor_one_row')),
    sa.PrimaryKeyConstraint('one', name=op.f('pk_schema_floor'))
    )
    op.execute("INSERT INTO schema_floor (oldest_revision) VALUES ('0001')")


def downgrade() -> None:
    op.drop_table('schema_floor')
    op.execute("ALTER TABLE events ALTER COLUMN xid SET DEFAULT pg_current_xact_id()")
    op.execute("DROP FUNCTION feed_horizon()")
    op.execute("DROP FUNCTION feed_xid()")
