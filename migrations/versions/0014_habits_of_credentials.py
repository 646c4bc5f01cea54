"""What SMTP credentials usually do, and incidents: times at which one did something else, and its mail is held.

Why: a stolen password shall send a few mails, not a list.
Expand only: four new tables, and a column that may be null, without a rewrite. The release before holds nothing, and knows no incident.
Lock: a moment's ACCESS EXCLUSIVE on smtp_credentials.

Revision: 0014, after 0013
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0014'
down_revision = '0013'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('smtp_credential_hours',
        sa.Column('credential', sa.Text(), nullable=False),
        sa.Column('hour', sa.DateTime(timezone=True), nullable=False),
        sa.Column('recipients', sa.Integer(), nullable=False),
        sa.Column('elsewhere', sa.Integer(), nullable=False),
        sa.Column('strangers', sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint('credential', 'hour', name=op.f('pk_smtp_credential_hours')),
    )
    op.create_table('smtp_credential_networks',
        sa.Column('credential', sa.Text(), nullable=False),
        sa.Column('network', sa.Text(), nullable=False),
        sa.Column('first_seen_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('last_seen_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
        sa.Column('trusted', sa.Boolean(), server_default='false', nullable=False),
        sa.PrimaryKeyConstraint('credential', 'network', name=op.f('pk_smtp_credential_networks')),
    )
    op.create_table('smtp_credential_circles',
        sa.Column('credential', sa.Text(), nullable=False),
        sa.Column('circle', postgresql.BIT(length=65536), nullable=False),
        sa.PrimaryKeyConstraint('credential', name=op.f('pk_smtp_credential_circles')),
    )
    op.create_table('incidents',
        sa.Column('account_id', sa.Integer(), nullable=False),
        sa.Column('id', sa.Uuid(), nullable=False),
        sa.Column('credential', sa.Text(), nullable=False),
        sa.Column('reason', sa.Text(), nullable=False),
        sa.Column('network', sa.Text(), nullable=True),
        sa.Column('decision', sa.Text(), nullable=True),
        sa.Column('decided_by', sa.Text(), nullable=True),
        sa.Column('decided_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('looked_at', sa.DateTime(timezone=True), nullable=True),
        sa.Column('finished_at', sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint('account_id', 'id', name=op.f('pk_incidents')),
    )
    op.create_index('uq_incidents_open', 'incidents', ['credential'], unique=True, postgresql_where=sa.text('decided_at IS NULL'))
    op.create_index('ix_incidents_decided', 'incidents', ['decided_at'], unique=False,
                    postgresql_where=sa.text('decided_at IS NOT NULL AND finished_at IS NULL'))
    op.add_column('smtp_credentials', sa.Column('trusted_per_hour', sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column('smtp_credentials', 'trusted_per_hour')
    op.drop_table('incidents')
    op.drop_table('smtp_credential_circles')
    op.drop_table('smtp_credential_networks')
    op.drop_table('smtp_credential_hours')
