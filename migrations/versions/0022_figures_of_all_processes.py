"""Processes that answer no HTTP tell their figures.

Why: what SMTP processes and workers counted themselves was shown by nobody.
Expand only. Lock: none, a new table.

Revision: 0022, after 0021
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0022'
down_revision = '0021'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'figures',
        sa.Column('teller', sa.Text(), nullable=False),
        sa.Column('told_at', sa.DateTime(timezone=True), nullable=False),
        sa.Column('families', postgresql.JSON(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint('teller', name=op.f('pk_figures')),
    )


def downgrade() -> None:
    op.drop_table('figures')
