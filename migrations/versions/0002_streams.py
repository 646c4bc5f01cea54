"""Streams as a resource; what delivery adds to a mail; suppressions that can be listed, and who lifted one.

Why: streams were two words in the code. Every account that is there gets the two as rows, so that its mail goes on as before.
Expand only: the release before this one works on the new schema. Mail that it accepted has adds = 0, which is nothing.
Lock: `streams` and `reactivations` are new; the new columns have constant defaults, so that each ALTER is a moment's ACCESS EXCLUSIVE
without a rewrite (messages with all its partitions). The index on suppressions is built under SHARE: acceptance goes on, bounces that
would suppress an address wait for it (a second for a million rows).

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('streams',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('class', sa.SmallInteger(), nullable=False),
    sa.Column('title', sa.Text(), nullable=False),
    sa.Column('description', sa.Text(), server_default='', nullable=False),
    sa.Column('track_opens', sa.Boolean(), server_default='true', nullable=False),
    sa.Column('track_clicks', sa.Boolean(), server_default='true', nullable=False),
    sa.Column('content_retention_days', sa.Integer(), nullable=True),
    sa.Column('max_age_hours', sa.Float(), nullable=True),
    sa.Column('list_id', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('archived_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_streams_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'name', name=op.f('pk_streams'))
    )
    op.execute("""
        INSERT INTO streams (account_id, name, class, title)
        SELECT a.id, f.name, f.class, f.title
        FROM accounts a, (VALUES ('transactional', 0, 'Service messages'), ('bulk', 1, 'News')) AS f(name, class, title)
    """)
    op.add_column('accounts', sa.Column('tracking', sa.Boolean(), server_default='true', nullable=False))
    op.add_column('domains', sa.Column('tracking_host', sa.Text(), nullable=True))
    op.add_column('domains', sa.Column('tracking_verified_at', sa.DateTime(timezone=True), nullable=True))
    op.create_unique_constraint(op.f('uq_domains_tracking_host'), 'domains', ['tracking_host'])
    op.add_column('messages', sa.Column('adds', sa.SmallInteger(), server_default='0', nullable=False))
    op.add_column('suppressions', sa.Column('added_by', sa.Text(), nullable=True))
    op.create_index('ix_suppressions_created', 'suppressions', ['account_id', 'created_at', 'address', 'stream'], unique=False)
    op.create_table('reactivations',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('address', sa.Text(), nullable=False),
    sa.Column('stream', sa.Text(), nullable=False),
    sa.Column('reason', sa.Text(), nullable=False),
    sa.Column('suppressed_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('lifted_by', sa.Text(), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'address', 'id', name=op.f('pk_reactivations'))
    )


def downgrade() -> None:
    op.drop_table('reactivations')
    op.drop_index('ix_suppressions_created', table_name='suppressions')
    op.drop_column('suppressions', 'added_by')
    op.drop_column('messages', 'adds')
    op.drop_constraint(op.f('uq_domains_tracking_host'), 'domains')
    op.drop_column('domains', 'tracking_verified_at')
    op.drop_column('domains', 'tracking_host')
    op.drop_column('accounts', 'tracking')
    op.drop_table('streams')
