"""Opens and clicks that are looked at a second time.

Why: a scanner that poses as a browser is known by what came with it, minutes later; what waits for that is written with the hit.
Expand only. Lock: none that matters; the table is new. What an API process of the release before writes is not looked at again.

Revision: 0017, after 0016
"""

import sqlalchemy as sa
from alembic import op

revision = '0017'
down_revision = '0016'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('second_looks',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('recipient_id', sa.Uuid(), nullable=False),
    sa.Column('number', sa.SmallInteger(), nullable=False),
    sa.Column('at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('asker', sa.BigInteger(), nullable=False),
    sa.Column('due_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('seen', sa.Boolean(), server_default='false', nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'recipient_id', 'number', 'at', name=op.f('pk_second_looks'))
    )
    op.create_index('ix_second_looks_due', 'second_looks', ['due_at'], unique=False)
    op.create_index('ix_second_looks_asker', 'second_looks', ['account_id', 'asker', 'at'], unique=False)


def downgrade() -> None:
    op.drop_index('ix_second_looks_asker', table_name='second_looks')
    op.drop_index('ix_second_looks_due', table_name='second_looks')
    op.drop_table('second_looks')
