"""A message's part map is no longer written.

Why: nobody has read it since tracking has a plan of its own; it was made, sent and kept for each message.
Expand only: the column gets a default, so that old releases go on writing it. A later release drops it. Lock: none that matters.

Revision: 0020, after 0019
"""

from alembic import op

revision = '0020'
down_revision = '0019'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.alter_column('content', 'part_map', server_default='[]')


def downgrade() -> None:
    op.alter_column('content', 'part_map', server_default=None)
