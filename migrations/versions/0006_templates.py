"""Templates and their versions.

Why: mail can be made from a stored template; versions never change, one of them is published.
Lock: none that matters; both tables are new (the foreign key takes a short SHARE ROW EXCLUSIVE on accounts, which nobody writes often).

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('templates',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('id', sa.Uuid(), nullable=False),
    sa.Column('name', sa.Text(), nullable=False),
    sa.Column('newest', sa.Integer(), nullable=False),
    sa.Column('published', sa.Integer(), nullable=True),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('updated_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.Column('archived_at', sa.DateTime(timezone=True), nullable=True),
    sa.ForeignKeyConstraint(['account_id'], ['accounts.id'], name=op.f('fk_templates_account_id')),
    sa.PrimaryKeyConstraint('account_id', 'id', name=op.f('pk_templates'))
    )
    op.create_index('uq_templates_name', 'templates', ['account_id', 'name'], unique=True, postgresql_where=sa.text('archived_at IS NULL'))
    op.create_table('template_versions',
    sa.Column('account_id', sa.Integer(), nullable=False),
    sa.Column('template_id', sa.Uuid(), nullable=False),
    sa.Column('number', sa.Integer(), nullable=False),
    sa.Column('subject', sa.Text(), nullable=True),
    sa.Column('html', sa.Text(), nullable=True),
    sa.Column('text', sa.Text(), nullable=True),
    sa.Column('defaults', postgresql.JSON(astext_type=sa.Text()), nullable=False),
    sa.Column('frozen', postgresql.JSON(astext_type=sa.Text()), nullable=False),
    sa.Column('uses', postgresql.JSON(astext_type=sa.Text()), nullable=False),
    sa.Column('created_at', sa.DateTime(timezone=True), server_default=sa.text('now()'), nullable=False),
    sa.PrimaryKeyConstraint('account_id', 'template_id', 'number', name=op.f('pk_template_versions'))
    )


def downgrade() -> None:
    op.drop_table('template_versions')
    op.drop_index('uq_templates_name', table_name='templates', postgresql_where=sa.text('archived_at IS NULL'))
    op.drop_table('templates')
