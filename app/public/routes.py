"""The public routes, put into the application."""

from __future__ import annotations

from fastapi import FastAPI

from app.public import health, tracked, unsubscribe


def mount(app: FastAPI) -> None:
    for router in (health.router, tracked.router, unsubscribe.router):
        app.include_router(router)
