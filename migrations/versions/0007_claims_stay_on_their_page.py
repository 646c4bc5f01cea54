"""A claim writes no index.

Why: the index of what is ready named `owner`, which every claim sets, so that a claimed row got a new entry in every index; now
the new version of a row stays on its page (HOT), for which pages are half empty.
Lock: CONCURRENTLY, none that stops mail; the new index is made before the old one goes. Old releases go on: their claims ask for `ready`
too. Pages filled before keep their fill until their rows are gone.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE queue SET (fillfactor = 50)")
    _swap('ready')


def downgrade() -> None:
    op.execute("ALTER TABLE queue SET (fillfactor = 70)")
    _swap('ready AND owner IS NULL')


def _swap(predicate: str) -> None:
    """Can be begun again wherever it was broken off: while there is no whole new index, the old one stays."""
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        patience = connection.scalar(sa.text('SHOW lock_timeout'))
        # Nobody waits behind these, and one that gave up half-way would leave an index that nobody may use.
        op.execute("SET lock_timeout = 0")
        whole = connection.scalar(sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_queue_ready_new')"))
        if whole is False:
            op.drop_index('ix_queue_ready_new', table_name='queue', postgresql_concurrently=True)
        if not whole:
            op.create_index('ix_queue_ready_new', 'queue', ['site_id', 'class', 'account_id', 'due_at'], unique=False,
                            postgresql_where=sa.text(predicate), postgresql_concurrently=True)
        op.drop_index('ix_queue_ready', table_name='queue', postgresql_concurrently=True, if_exists=True)
        op.execute("ALTER INDEX ix_queue_ready_new RENAME TO ix_queue_ready")
        op.execute(f"SET lock_timeout = '{patience}'")
