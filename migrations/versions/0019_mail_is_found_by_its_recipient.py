"""Mail is found by the address that it went to.

Why: "what became of the mail to Ada?" had to read an account's whole history.
Expand only. Lock: CONCURRENTLY, none that stops mail; week by week, and at the end one on the parent that finds all of them made. Old
releases go on. It can be begun again wherever it was broken off.

Revision: 0019, after 0018
"""

import sqlalchemy as sa
from alembic import op

revision = '0019'
down_revision = '0018'
branch_labels = None
depends_on = None

KEY = "lower(address COLLATE \"C\")"
WEEKS = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'recipients'::regclass ORDER BY 1"


def upgrade() -> None:
    connection = op.get_bind()
    with op.get_context().autocommit_block():
        patience = connection.scalar(sa.text('SHOW lock_timeout'))
        # Nobody waits behind these, and one that gave up half-way would leave an index that nobody may use.
        op.execute("SET lock_timeout = 0")
        for week in connection.scalars(sa.text(WEEKS)).all():
            index = f'{week}_address'
            whole = connection.scalar(sa.text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(:index)"), {'index': index})
            if whole is False:
                op.drop_index(index, table_name=week, postgresql_concurrently=True)
            if not whole:
                op.create_index(index, week, ['account_id', sa.text(KEY), 'id'], unique=False, postgresql_concurrently=True)
        op.execute(f"SET lock_timeout = '{patience}'")
        op.create_index('ix_recipients_address', 'recipients', ['account_id', sa.text(KEY), 'id'], unique=False, if_not_exists=True)


def downgrade() -> None:
    op.drop_index('ix_recipients_address', table_name='recipients')
