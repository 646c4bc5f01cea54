"""Owed reports and second looks count how often they were tried.

Why: one that fails by a fault of ours held up those behind it, or came back once a minute for ever; now it waits longer and longer, and is
given up in the end.
Expand only. Lock: none that matters; a column with a constant default is a line in the catalogue. What a worker of the release before
takes is not counted.

Revision: 0018, after 0017
"""

import sqlalchemy as sa
from alembic import op

revision = '0018'
down_revision = '0017'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('owed_reports', sa.Column('tries', sa.SmallInteger(), server_default='0', nullable=False))
    op.add_column('second_looks', sa.Column('tries', sa.SmallInteger(), server_default='0', nullable=False))


def downgrade() -> None:
    op.drop_column('second_looks', 'tries')
    op.drop_column('owed_reports', 'tries')
