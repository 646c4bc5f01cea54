"""Tracking: where its links and pixel go into a content, and when a recipient opened and clicked first.

Why: a plan is made once, when a message is accepted, and read by the workers; the first open and click are marked so that uniques add up.
Expand only: columns that may be null, without a rewrite. Mail accepted by the release before has no plan and is not tracked.
Lock: a moment's ACCESS EXCLUSIVE on content and recipients with all their partitions.

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('content', sa.Column('tracking', postgresql.JSON(astext_type=sa.Text()), nullable=True))
    op.add_column('recipients', sa.Column('opened_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('recipients', sa.Column('clicked_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('recipients', 'clicked_at')
    op.drop_column('recipients', 'opened_at')
    op.drop_column('content', 'tracking')
