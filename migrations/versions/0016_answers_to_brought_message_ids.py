"""Mail that brought its own Message-ID is found by it, so that answers to it are linked.

Why: mail programs write a Message-ID themselves; that of all other mail is made of the message's id and needs no index.
Expand only. Lock: writes to messages wait while its partitions are read once, about a second for a million messages.

Revision: 0016, after 0015
"""

import sqlalchemy as sa
from alembic import op

revision = '0016'
down_revision = '0015'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index('ix_messages_own_id', 'messages', ['rfc_message_id'], unique=False, postgresql_using='hash',
                    postgresql_where=sa.text("left(rfc_message_id, 33) <> ('<' || replace(id::text, '-', ''))"))


def downgrade() -> None:
    op.drop_index('ix_messages_own_id', table_name='messages')
