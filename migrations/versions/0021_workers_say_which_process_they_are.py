"""A worker says what the kernel of its machine calls it.

Why: that a process has died can be seen on its machine at once, and its mail need not wait for the end of its lease.
Expand only. Lock: none that matters. A worker of the release before says nothing, and its lease decides.

Revision: 0021, after 0020
"""

import sqlalchemy as sa
from alembic import op

revision = '0021'
down_revision = '0020'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('workers', sa.Column('process', sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column('workers', 'process')
