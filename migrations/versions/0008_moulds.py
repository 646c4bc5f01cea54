"""Moulds, and content that is made at delivery.

Why: mail of a batch or a bulk stream that names a template is rendered when it is delivered. What its messages have in common is kept
once in `moulds`; a row of `content` that names a mould holds the header block and the variables, packed against it, instead of a body.
Workers say which release they are, so that no such mail is accepted while one is there that could not read it.
Expand only: a new table in partitions like those of content, and columns that may be null, without a rewrite.
Lock: a moment's ACCESS EXCLUSIVE on content with all its partitions, and on workers.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('moulds',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('purge_on', sa.Date(), nullable=False),
    sa.Column('template_id', sa.Uuid(), nullable=False),
    sa.Column('version', sa.Integer(), nullable=False),
    sa.Column('locale', sa.Text(), nullable=True),
    sa.Column('sample', sa.LargeBinary(), nullable=False),
    sa.Column('files', sa.LargeBinary(), nullable=True),
    sa.PrimaryKeyConstraint('account_id', 'id', 'purge_on', name=op.f('pk_moulds')),
    postgresql_partition_by='RANGE (purge_on)'
    )
    # Both are compressed before they come here.
    op.execute("ALTER TABLE moulds ALTER COLUMN sample SET STORAGE EXTERNAL, ALTER COLUMN files SET STORAGE EXTERNAL")
    op.add_column('content', sa.Column('mould_id', sa.Uuid(), nullable=True))
    op.add_column('workers', sa.Column('release', sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column('workers', 'release')
    op.drop_column('content', 'mould_id')
    op.drop_table('moulds')
