"""When an erasure was last asked for.

Why: mail that is accepted while an erasure reads the history may lie behind it already; who asks again means that mail too.
Expand only: a column with a default that is a moment, without a rewrite. Lock: a moment's ACCESS EXCLUSIVE on a small table.
Workers of the release before finish an order however often it was asked for, as they always did.

Revision: 0015, after 0014
"""

import sqlalchemy as sa
from alembic import op

revision = '0015'
down_revision = '0014'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('erasure_orders', sa.Column('asked_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False))


def downgrade() -> None:
    op.drop_column('erasure_orders', 'asked_at')
