"""/v1/webhooks/{id}/attempts: what came of single posts, newest first, and each with the request it was.

All failures and, of a busy endpoint, samples of the successes (events.attempts). The request's body is made again from its events;
its signature is not kept, since it would be too old to verify.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app import store
from app.api.door import answer_json, house_of
from app.api.message_body import DateTime
from app.api.openapi import refusals
from app.api.paging import ATTEMPTS, read_id_cursor, write_id_cursor
from app.api.webhooks import Reader, no_endpoint, read_endpoint_id
from app.errors import NotFound
from app.events.posts import Post, encode
from app.store.events import FeedRow
from app.store.ids import floor_of, new_id, parse_public_id, public_id, time_of
from app.store.webhook_attempts import AttemptRow

Outcome = Literal["taken", "refused", "unanswered"]
_ASKED = {"taken": ["taken"], "refused": ["refused"], "unanswered": ["unanswered"], "failed": ["refused", "unanswered"]}

router = APIRouter(tags=["webhooks"])


class WebhookAttempt(BaseModel):
    """One post to the endpoint, and its answer."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(pattern="^wat_[0-9a-f]{32}$")]
    webhook_id: Annotated[str, Field(description="The post's `webhook-id`, the same on every attempt.")]
    at: DateTime
    kind: Annotated[
        Literal["event", "retry", "replay", "test"],
        Field(description="Why it was posted: for the first time, because it had failed, because a replay was asked for, as a test."),
    ]
    outcome: Annotated[Outcome, Field(description="taken: 2xx. refused: any other answer. unanswered: none.")]
    status: int | None
    latency_ms: int
    error: Annotated[str | None, Field(description="Why there was no answer.")]
    answer: Annotated[str, Field(description="The first kilobyte of the answer's body.")]
    event_ids: list[str]


class WebhookAttemptWithBody(WebhookAttempt):
    """The same, with the body that was posted."""

    model_config = ConfigDict(extra="forbid")
    body: Annotated[str | None, Field(description="The request's body; null when its events are no longer kept.")]


class WebhookAttemptPage(BaseModel):
    """Attempts, newest first."""

    model_config = ConfigDict(extra="forbid")
    attempts: list[WebhookAttempt]
    next: Annotated[str | None, Field(description="The `cursor` of the next page; null on the last one.")]


@router.get(
    "/v1/webhooks/{id}/attempts",
    operation_id="listWebhookAttempts",
    summary="List posts to the endpoint, newest first",
    response_model=WebhookAttemptPage,
    responses=refusals(401, 403, 404, 422, 503),
)
async def list_attempts(
    request: Request,
    sender: Reader,
    id: str,  # noqa: A002  (the name of the path's parameter)
    outcome: Annotated[
        Literal["taken", "refused", "unanswered", "failed"] | None, Query(description="failed: refused or unanswered.")
    ] = None,
    webhook_id: Annotated[
        str | None, Query(max_length=100, pattern="^[a-z0-9_]+$", description="Of one post, or (`evt_…`) of one event also in batches.")
    ] = None,
    cursor: Annotated[str | None, Query(max_length=100, description="The `next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    house = house_of(request)
    endpoint_id = read_endpoint_id(id)
    await _find_endpoint(request, sender.account_id, endpoint_id)
    before = read_id_cursor(ATTEMPTS, cursor) or new_id(datetime.now(UTC).timestamp() + 3600)
    floor = floor_of(datetime.now(UTC) - timedelta(days=house.settings.webhook_attempt_days + 7))
    async with house.database.hot() as connection:
        found = await store.webhook_attempts.list_attempts(
            connection,
            sender.account_id,
            endpoint_id,
            before=before,
            floor=floor,
            limit=limit + 1,
            outcomes=_ASKED[outcome] if outcome else None,
            webhook_id=webhook_id,
            event_id=parse_public_id("evt", webhook_id) if webhook_id else None,
        )
    page = found[:limit]
    following = write_id_cursor(ATTEMPTS, page[-1].id) if len(found) > limit else None
    return answer_json({"attempts": [show_attempt(each) for each in page], "next": following})


@router.get(
    "/v1/webhooks/{id}/attempts/{attempt_id}",
    operation_id="getWebhookAttempt",
    summary="See a post to the endpoint, with its body",
    response_model=WebhookAttemptWithBody,
    responses=refusals(401, 403, 404, 503),
)
async def show_one(request: Request, sender: Reader, id: str, attempt_id: str) -> Response:  # noqa: A002
    endpoint_id = read_endpoint_id(id)
    await _find_endpoint(request, sender.account_id, endpoint_id)
    wanted = parse_public_id("wat", attempt_id)
    async with house_of(request).database.hot() as connection:
        found = await store.webhook_attempts.find_attempt(connection, sender.account_id, endpoint_id, wanted) if wanted else None
        if found is None:
            raise NotFound("There is no such attempt.")
        rows = await store.webhook_attempts.read_attempt_events(connection, found) if found.body is None else []
    return answer_json(show_attempt(found) | {"body": _body_of(found, rows)})


def show_attempt(attempt: AttemptRow) -> dict[str, Any]:
    """An attempt as the API shows it."""
    return {
        "id": public_id("wat", attempt.id),
        "webhook_id": attempt.webhook_id,
        "at": time_of(attempt.id),
        "kind": attempt.kind,
        "outcome": attempt.outcome,
        "status": attempt.status,
        "latency_ms": attempt.latency_ms,
        "error": attempt.error,
        "answer": attempt.answer,
        "event_ids": [public_id("evt", one) for one in attempt.event_ids],
    }


def _body_of(attempt: AttemptRow, rows: list[FeedRow]) -> str | None:
    if attempt.body is not None:
        return attempt.body.decode()
    if not rows or len(rows) < len(attempt.event_ids):
        return None
    return encode(Post(attempt.webhook_id, attempt.batch_size > 0, tuple(rows))).decode()


async def _find_endpoint(request: Request, account_id: int, endpoint_id: UUID) -> None:
    async with house_of(request).database.reading() as connection:
        if await store.webhooks.find_endpoint(connection, account_id, endpoint_id) is None:
            raise no_endpoint()
