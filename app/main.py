"""The HTTP application: everything wired together, opened and closed with it.

`build_app` touches nothing outside; the database, the keyring and Valkey are opened when the server starts. PostgreSQL and
Valkey may be away then: requests are refused with 503 until the one is back, the other only makes wakes late.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial

from fastapi import FastAPI

from app.accounts.credentials import Authenticator
from app.accounts.domains import DomainBook
from app.accounts.streams import StreamBook
from app.accounts.templates import TemplateBook
from app.api.door import Application, House
from app.api.routes import mount
from app.config import Settings
from app.feedback.hits import Hits
from app.intake.submit import Intake
from app.jobs import Wakes
from app.keyring import Keyring
from app.public.routes import mount as mount_public
from app.rendering import Renderer
from app.resolver import Resolver
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
    mount_public(app)
    return app


@contextlib.asynccontextmanager
async def _open_house(settings: Settings, app: FastAPI) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        keyring = Keyring.load(settings.keyring_path)
        database = Database(settings.database_url)
        stack.push_async_callback(database.close)
        wakes = Wakes(settings.redis_url)
        stack.push_async_callback(wakes.close)
        renderer = Renderer(settings.render_processes)
        stack.push_async_callback(renderer.close)
        hits = Hits(database, wakes, settings.second_look_seconds)
        stack.push_async_callback(hits.close)
        domains, streams, templates = DomainBook(database, keyring), StreamBook(database), TemplateBook(database, renderer)
        intake = Intake(database, domains, streams, templates, settings, wakes)
        stack.push_async_callback(intake.close)
        app.state.house = House(
            settings=settings,
            database=database,
            keyring=keyring,
            authenticator=Authenticator(database, keyring),
            domains=domains,
            streams=streams,
            templates=templates,
            renderer=renderer,
            intake=intake,
            wakes=wakes,
            resolver=Resolver(settings.dns_servers),
            hits=hits,
        )
        wakes.start()
        hits.start()
        intake.start()
        yield
