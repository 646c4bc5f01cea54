"""What the sender of a recipient's mail asked to be told of it: NOTIFY, ORCPT, RET, ENVID, and whether failures are reported by mail.

Why: a delivery report is written long after the mail was accepted, by who finds that it has failed.
Expand only: a column that may be null, without a rewrite. Mail accepted by the release before asks for nothing.
Lock: a moment's ACCESS EXCLUSIVE on recipients with all its partitions.

Revision: 0011, after 0010
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0011'
down_revision = '0010'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('recipients', sa.Column('dsn', postgresql.JSON(astext_type=sa.Text()), nullable=True))


def downgrade() -> None:
    op.drop_column('recipients', 'dsn')
