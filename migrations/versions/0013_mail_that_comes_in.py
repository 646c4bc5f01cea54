"""Inbound routes, and the mail that comes in by them.

Why: accounts receive the answers to what they send.
Expand only. Lock: none that matters; the tables are new, and the release before does not know them.

Revision: 0013, after 0012
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0013'
down_revision = '0012'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('inbound_routes',
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('domain', sa.Text(), nullable=False),
    sa.Column('local', sa.Text(), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_inbound_routes_account_id_accounts')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_inbound_routes')),
    sa.UniqueConstraint('domain', 'local', name=op.f('uq_inbound_routes_domain_local'))
    )
    op.create_index(op.f('ix_inbound_routes_account_id'), 'inbound_routes', ['account_id'], unique=False)
    op.create_table('inbound_messages',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('route_id', sa.Uuid(), nullable=False),
    sa.Column('envelope_from', sa.Text(), nullable=False),
    sa.Column('envelope_to', sa.Text(), nullable=False),
    sa.Column('client_ip', sa.Text(), nullable=False),
    sa.Column('helo', sa.Text(), nullable=False),
    sa.Column('size_bytes', sa.Integer(), nullable=False),
    sa.Column('digest', sa.LargeBinary(), nullable=True),
    sa.Column('purge_on', sa.Date(), nullable=False),
    sa.Column('state', sa.Text(), nullable=False),
    sa.Column('from_address', sa.Text(), nullable=True),
    sa.Column('subject', sa.Text(), nullable=True),
    sa.Column('automatic', sa.Boolean(), nullable=True),
    sa.Column('attachments', sa.SmallInteger(), nullable=True),
    sa.Column('verdicts', postgresql.JSON(astext_type=sa.Text()), nullable=True),
    sa.Column('sent_message_id', sa.Uuid(), nullable=True),
    sa.Column('sent_recipient_id', sa.Uuid(), nullable=True),
    sa.PrimaryKeyConstraint('account_id', 'id', name=op.f('pk_inbound_messages')),
    postgresql_partition_by='RANGE (id)'
    )
    op.create_index('ix_inbound_messages_digest', 'inbound_messages', ['account_id', 'digest'], unique=False)
    op.create_table('inbound_content',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('message_id', sa.Uuid(), nullable=False),
    sa.Column('purge_on', sa.Date(), nullable=False),
    sa.Column('raw', sa.LargeBinary(), nullable=False),
    sa.Column('parsed', postgresql.JSON(astext_type=sa.Text()), nullable=True),
    sa.PrimaryKeyConstraint('account_id', 'message_id', 'purge_on', name=op.f('pk_inbound_content')),
    postgresql_partition_by='RANGE (purge_on)'
    )
    # Mail is compressed before it comes here (store.messages.pack_body).
    op.execute("ALTER TABLE inbound_content ALTER COLUMN raw SET STORAGE EXTERNAL")
    op.create_table('inbound_waiting',
    sa.Column('message_id', sa.Uuid(), nullable=False),
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('purge_on', sa.Date(), nullable=False),
    sa.Column('taken_until', sa.DateTime(timezone=True), nullable=True),
    sa.Column('takes', sa.SmallInteger(), server_default='0', nullable=False),
    sa.PrimaryKeyConstraint('message_id', name=op.f('pk_inbound_waiting'))
    )


def downgrade() -> None:
    op.drop_table('inbound_waiting')
    op.drop_table('inbound_content')
    op.drop_index('ix_inbound_messages_digest', table_name='inbound_messages')
    op.drop_table('inbound_messages')
    op.drop_index(op.f('ix_inbound_routes_account_id'), table_name='inbound_routes')
    op.drop_table('inbound_routes')
