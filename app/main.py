"""The HTTP application: everything wired together, opened and closed with it.

`build_app` touches nothing outside; the database, the keyring and Valkey are opened when the server starts. PostgreSQL and
Valkey may be away then: requests are refused with 503 until the one is back, the other only makes wakes late.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI

from app import public
from app.accounts.credentials import Authenticator
from app.accounts.domains import DomainBook
from app.accounts.templates import TemplateBook
from app.api.door import Application, House
from app.api.routes import mount
from app.config import Settings
from app.intake.submit import Intake
from app.jobs import Wakes
from app.keyring import Keyring
from app.rendering import Renderer
from app.store.db import Database

API_VERSION = "1.0.0"


def build_app(settings: Settings) -> FastAPI:
    """The application, not yet opened."""
    app = Application(
        title="Staffetta",
        version=API_VERSION,
        lifespan=partial(_open_house, settings),
        redirect_slashes=False,
        # Looking whether a tracer is configured costs every request 10 µs; the house has metrics of its own.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        # The document is served at /openapi.json; pages that load scripts from elsewhere are not.
        docs_url=None,
        redoc_url=None,
    )
    mount(app)
    app.include_router(public.router)
    return app


@asynccontextmanager
async def _open_house(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    keyring = Keyring.load(settings.keyring_path)
    database = Database(settings.database_url)
    domains = DomainBook(database, keyring)
    wakes = Wakes(settings.redis_url)
    renderer = Renderer(settings.render_processes)
    templates = TemplateBook(database, renderer)
    intake = Intake(database, domains, templates, settings, wakes)
    app.state.house = House(settings, database, keyring, Authenticator(database, keyring), domains, templates, renderer, intake, wakes)
    wakes.start()
    intake.start()
    try:
        yield
    finally:
        await intake.close()
        await renderer.close()
        await wakes.close()
        await database.close()
