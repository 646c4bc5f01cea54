"""Orders to erase a person, which accounts give by the API and workers carry out.

Why: an account's history is read as a whole for it, which takes longer than a request may.
Expand only. Lock: none that matters; the table is new. Workers of the release before leave orders to those of this one.

Revision: 0009, after 0008
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('erasure_orders',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('address', sa.Text(), nullable=True),
    sa.Column('ordered_by', sa.Text(), nullable=False),
    sa.Column('taken_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('erased', postgresql.JSON(astext_type=sa.Text()), server_default='{}', nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.PrimaryKeyConstraint('account_id', 'id', name=op.f('pk_erasure_orders'))
    )
    op.create_index('uq_erasure_orders_open', 'erasure_orders', ['account_id', 'address'], unique=True, postgresql_where=sa.text('finished_at IS NULL'))


def downgrade() -> None:
    op.drop_index('uq_erasure_orders_open', table_name='erasure_orders', postgresql_where=sa.text('finished_at IS NULL'))
    op.drop_table('erasure_orders')
