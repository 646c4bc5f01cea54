"""Webhooks in full: filters, two live secrets, notices, attempts, replays.

Why: many endpoints per account that want different things; secrets that change without a gap; what came of single posts, and
posting once more.
Expand only: new tables, and new columns that may be null. Lock: ACCESS EXCLUSIVE on webhook_endpoints, for a change of the
catalogue alone (no default, no rewrite); the new tables are nobody's yet. A worker of the release before ignores the new filters and
signs with the newest secret alone until it is replaced.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op
from app.store.events import Xid8
from sqlalchemy.dialects import postgresql

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('webhook_attempts',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('endpoint_id', sa.Uuid(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('webhook_id', sa.Text(), nullable=False),
    sa.Column('kind', sa.Text(), nullable=False),
    sa.Column('outcome', sa.Text(), nullable=False),
    sa.Column('status', sa.SmallInteger(), nullable=True),
    sa.Column('latency_ms', sa.Integer(), nullable=False),
    sa.Column('error', sa.Text(), nullable=True),
    sa.Column('answer', sa.Text(), nullable=False),
    sa.Column('batch_size', sa.SmallInteger(), nullable=False),
    sa.Column('event_xids', postgresql.ARRAY(sa.Text()), nullable=False),
    sa.Column('event_ids', postgresql.ARRAY(sa.Uuid()), nullable=False),
    sa.Column('body', sa.LargeBinary(), nullable=True),
    sa.PrimaryKeyConstraint('account_id', 'endpoint_id', 'id', name=op.f('pk_webhook_attempts')),
    postgresql_partition_by='RANGE (id)'
    )
    op.create_table('webhook_replays',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('endpoint_id', sa.Uuid(), nullable=False),
    sa.Column('state', sa.Text(), server_default='running', nullable=False),
    sa.Column('event_ids', postgresql.ARRAY(sa.Uuid()), nullable=True),
    sa.Column('from_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('to_at', sa.DateTime(timezone=True), nullable=False),
    sa.Column('event_types', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('states', postgresql.ARRAY(sa.Text()), nullable=True),
    sa.Column('cursor_xid', Xid8(), server_default='0', nullable=False),
    sa.Column('cursor_id', sa.Uuid(), nullable=False),
    sa.Column('most_events', sa.Integer(), nullable=False),
    sa.Column('posted_events', sa.Integer(), server_default='0', nullable=False),
    sa.Column('failed_posts', sa.Integer(), server_default='0', nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['endpoint_id'], ['webhook_endpoints.id'], name=op.f('fk_webhook_replays_endpoint_id'), ondelete='CASCADE'),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_webhook_replays'))
    )
    op.create_index('ix_webhook_replays_endpoint', 'webhook_replays', ['endpoint_id', 'id'], unique=False)
    op.create_index('ix_webhook_replays_running', 'webhook_replays', ['endpoint_id'], unique=False, postgresql_where=sa.text("state = 'running'"))
    op.add_column('webhook_endpoints', sa.Column('old_secret', sa.LargeBinary(), nullable=True))
    op.add_column('webhook_endpoints', sa.Column('old_secret_until', sa.DateTime(timezone=True), nullable=True))
    op.add_column('webhook_endpoints', sa.Column('streams', postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column('webhook_endpoints', sa.Column('tags', postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column('webhook_endpoints', sa.Column('failing_told_at', sa.DateTime(timezone=True), nullable=True))
    op.add_column('webhook_endpoints', sa.Column('disabled_at', sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column('webhook_endpoints', 'disabled_at')
    op.drop_column('webhook_endpoints', 'failing_told_at')
    op.drop_column('webhook_endpoints', 'tags')
    op.drop_column('webhook_endpoints', 'streams')
    op.drop_column('webhook_endpoints', 'old_secret_until')
    op.drop_column('webhook_endpoints', 'old_secret')
    op.drop_table('webhook_replays')
    op.drop_table('webhook_attempts')
