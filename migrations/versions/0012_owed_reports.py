"""Delivery reports that senders of SMTP mail are owed.

Why: what is owed is written with the fate that owes it, so that no kill loses it, and told by a worker's loop.
Expand only. Lock: none that matters; the table is new. What a worker of the release before settles owes nothing, as before.

Revision: 0012, after 0011
"""

import sqlalchemy as sa
from alembic import op

revision = '0012'
down_revision = '0011'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('owed_reports',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('recipient_id', sa.Uuid(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('report_id', sa.Uuid(), nullable=True),
    sa.PrimaryKeyConstraint('account_id', 'recipient_id', 'kind', name=op.f('pk_owed_reports'))
    )
    op.create_index('ix_owed_reports_due', 'owed_reports', ['kind', 'due_at'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_owed_reports_due', table_name='owed_reports')
    op.drop_table('owed_reports')
