"""What everybody may ask, without a key: is it alive, is it ready. And `/metrics`, for Prometheus.

`/healthz` says that the process answers. `/readyz` says that it can do its work: PostgreSQL is reachable and has a schema that this
release may run on. Valkey being away costs latency only, so it is told ("degraded") and does not make the server unready.
`/metrics` tells of all tenants: it is answered on this machine only, or to who has the token of the settings.
`/internal/tls-allowed` is asked by the TLS proxy, which lets nobody else through to it.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import Annotated, Any, Literal

import asyncpg
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from app.accounts.domains import may_have_certificate
from app.errors import NotFound
from app.store.db import CONNECTION_ERRORS, Database
from app.store.revision import is_fit
from app.watch.metrics import CONTENT_TYPE, Figures

router = APIRouter(tags=["health"])


class Alive(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    status: Annotated[Literal["ready", "degraded", "unready"], Field(description="`degraded` does its work, more slowly.")]
    database: Literal["ok", "away", "wrong_schema"]
    wakes: Annotated[Literal["ok", "away"], Field(description="Valkey or Redis.")]


@router.get("/healthz", operation_id="getHealth", summary="Whether the process answers", response_model=Alive)
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    operation_id="getReadiness",
    summary="Whether the server can do its work",
    response_model=Readiness,
    responses={503: {"model": Readiness, "description": "It cannot accept mail."}},
)
async def readyz(request: Request) -> JSONResponse:
    house: Any = request.app.state.house
    database = await _ask_database(house.database)
    wakes = "ok" if house.wakes.reachable else "away"
    status = "unready" if database != "ok" else "ready" if wakes == "ok" else "degraded"
    return JSONResponse({"status": status, "database": database, "wakes": wakes}, 503 if status == "unready" else 200)


async def _ask_database(database: Database) -> str:
    try:
        async with database.hot() as connection:
            fit = await is_fit(connection)
    except asyncpg.UndefinedTableError:
        return "wrong_schema"
    except CONNECTION_ERRORS:
        return "away"
    return "ok" if fit else "wrong_schema"


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    house: Any = request.app.state.house
    if not _may_see_metrics(request, house.settings.metrics_token):
        raise NotFound("There is nothing here.")
    state = request.app.state
    if not hasattr(state, "figures"):
        state.figures = Figures(house.database)
    return Response(await state.figures.render(), media_type=CONTENT_TYPE)


@router.get("/internal/tls-allowed", include_in_schema=False)
async def tls_allowed(request: Request, domain: Annotated[str, Query(max_length=253)]) -> Response:
    """200 when the proxy may get a certificate for `domain` (Caddy's on_demand_tls.ask), else 404."""
    house: Any = request.app.state.house
    if "x-forwarded-for" in request.headers:  # somebody outside, through a proxy that lets this path pass
        raise NotFound("There is nothing here.")
    if not await may_have_certificate(house.database, domain, house.settings.public_url):
        raise NotFound("Nobody has shown that this name is his.")
    return Response(status_code=200)


def _may_see_metrics(request: Request, token: str) -> bool:
    if token:
        return hmac.compare_digest(request.headers.get("authorization", "").encode(), f"Bearer {token}".encode())
    try:
        # A proxy on this machine looks like this machine: then a token is needed, and its header tells.
        return ipaddress.ip_address(request.client.host if request.client else "").is_loopback and "x-forwarded-for" not in request.headers
    except ValueError:
        return False
