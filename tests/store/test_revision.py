from alembic.script import ScriptDirectory

from app.store.migrate import alembic_config
from app.store.revision import newest_revision


def test_the_newest_revision_is_alembics_only_head() -> None:
    assert ScriptDirectory.from_config(alembic_config("")).get_heads() == [newest_revision()]
