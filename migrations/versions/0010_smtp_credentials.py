"""User names and passwords by which accounts send over SMTP.

Why: mail programs and old applications know no API keys.
Expand only. Lock: none that matters; the table is new, and the release before does not know it.

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0010'
down_revision = '0009'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('smtp_credentials',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('pepper_id', sa.Integer(), nullable=False),
    sa.Column('secret_hash', sa.LargeBinary(), nullable=False),
    sa.Column('allowed_from', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False),
    sa.Column('networks', postgresql.ARRAY(sa.Text()), server_default='{}', nullable=False),
    sa.Column('recipients_per_minute', sa.Integer(), nullable=True),
    sa.Column('tells_failures', sa.Boolean(), server_default='true', nullable=False),
    sa.Column('stream', sa.Text(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('last_used_at', sa.DateTime(timezone=True), nullable=True),
    sa.Column('revoked_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_smtp_credentials_account_id_accounts')),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_smtp_credentials'))
    )
    op.create_index(op.f('ix_smtp_credentials_account_id'), 'smtp_credentials', ['account_id'], unique=False)


def downgrade() -> None:
    op.drop_index(op.f('ix_smtp_credentials_account_id'), table_name='smtp_credentials')
    op.drop_table('smtp_credentials')
