"""Refusals as RFC 9457 problem documents: the one room where an exception becomes an answer.

Every answer that is not a success is `application/problem+json` with a stable `code`; those about fields name each with a
JSON Pointer (RFC 6901 §6), a query parameter as "?name". Nothing of the request's own text is repeated: it may be secret, hostile,
or not even writable as UTF-8. What happened on our side is in the log, under the request id.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.exc import IntegrityError, ProgrammingError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from app.errors import FieldError, InvalidRequest, RelayError, pointer_to
from app.store.db import AWAY, away
from app.watch.metrics import problems

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2

# code → title: what `type` leads to. The sentence for the case at hand is in `detail`.
TITLES = {
    "malformed_request": "The request cannot be read",
    "unauthenticated": "The API key is missing or not valid",
    "forbidden": "The API key does not allow this",
    "account_paused": "The account is paused",
    "sender_not_allowed": "The account may not send from this domain",
    "domain_not_owned": "The domain is not one of the account's",
    "not_found": "There is no such thing",
    "method_not_allowed": "The path does not know this method",
    "request_timeout": "The request body came too slowly",
    "conflict": "The state of the thing does not allow this",
    "message_too_large": "The message or request is too large",
    "unsupported_media_type": "The request body is not plain application/json",
    "invalid_message": "The message is not valid",
    "invalid_request": "The request is not valid",
    "throttled": "Too many requests",
    "internal": "Something went wrong on our side",
    "unavailable": "The relay cannot do this right now",
}
_CODES = {404: "not_found", 405: "method_not_allowed", 408: "request_timeout", 413: "message_too_large", 415: "unsupported_media_type"}
_SENTENCES = {404: "There is nothing at this path.", 405: "This path does not know this method."}


router = APIRouter()


class FieldProblem(BaseModel):
    """One wrong field."""

    model_config = ConfigDict(extra="forbid")
    pointer: str = Field(description='JSON Pointer into the body ("#/to/0/email"), or "?name" for a query parameter.')
    code: str = Field(description="What is wrong, as a stable word.")
    detail: str = Field(description="What is wrong, as a sentence.")


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "type": "/problems/invalid_message",
                "title": "The message is not valid",
                "status": 422,
                "detail": "1 field is wrong.",
                "code": "invalid_message",
                "request_id": "req_5c1f6d0b9a3e47d2",
                "errors": [{"pointer": "#/to/0/email", "code": "invalid_address", "detail": "The address has no @ sign."}],
            }
        },
    )
    type: str = Field(description="A reference to the description of the code.", json_schema_extra={"format": "uri-reference"})
    title: str = Field(description="The code as a sentence; the same for every problem of that code.")
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str = Field(description="What is wrong in this case.")
    code: str = Field(description="Stable name of the problem.", json_schema_extra={"enum": list(TITLES)})
    request_id: str = Field(description="Quote it when you ask the operator; it is in the X-Request-Id header too.")
    errors: list[FieldProblem] = Field(default=[], description="The fields that are wrong, when the problem is about fields.")


def problem_of(error: RelayError, request_id: str) -> dict[str, Any]:
    """The problem document of a refusal, which is counted."""
    problems.labels(error.code).inc()
    return _document(error.http_status, error.code, error.message, request_id, error.errors)


def answer_problem(error: RelayError, request_id: str) -> Response:
    """A refusal as a whole answer."""
    headers = {}
    if error.http_status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="staffetta"'
    if error.retry_after_seconds is not None or error.http_status == 503:
        headers["Retry-After"] = str(error.retry_after_seconds or RETRY_AFTER_SECONDS)
    return _answer(error.http_status, problem_of(error, request_id), headers)


def answer_internal(request_id: str) -> Response:
    """For what nobody foresaw."""
    detail = "The request failed on our side; it was logged under its request id."
    return _answer(500, _document(500, "internal", detail, request_id, ()), {})


def field_errors(error: ValidationError, marks: frozenset[str] = frozenset(), known: Collection[str] = ()) -> list[FieldError]:
    """What pydantic found wrong in a body.

    `marks` are steps of its paths that are not in the body; of the names in `known` the nearest is offered to who misspelt one.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [_field_error(one, marks, known) for one in found]


@router.get("/problems/{code}", include_in_schema=False)
async def explain_problem(code: str) -> Response:
    """What `type` of a problem leads to."""
    if code not in TITLES:
        raise HTTPException(404)
    return Response(f"{code}: {TITLES[code]}.\n", media_type="text/plain")


def install(app: FastAPI) -> None:
    """Let every exception that a route, a dependency or the framework raises become a problem."""
    app.include_router(router)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)


async def answer_error(request: Request, error: Exception) -> Response:
    """The same for a route that the framework's own handlers do not stand around; raises what nobody foresaw."""
    for kind in type(error).__mro__:
        answer = _ANSWERS.get(kind)
        if answer is not None:
            return await answer(request, error)
    raise error


def request_id_of(request: Request) -> str:
    made: str = request.scope.get("request_id", "req_none")
    return made


async def _relay_error(request: Request, error: Any) -> Response:
    return answer_problem(error, request_id_of(request))


async def _http_error(request: Request, error: Any) -> Response:
    status = error.status_code
    code = _CODES.get(status, "malformed_request" if status < 500 else "internal")
    # Our own sentences come with their status; the framework's are the bare phrase of the status and say nothing.
    detail = _SENTENCES.get(status) or error.detail
    return _answer(status, _document(status, code, detail, request_id_of(request), ()), dict(error.headers or {}))


async def _parameter_error(request: Request, error: Any) -> Response:
    errors = []
    for one in error.errors():
        place, *path = one["loc"]
        if place == "path":  # an id that cannot be one is an id that is not there
            return _answer(404, _document(404, "not_found", "There is no such thing.", request_id_of(request), ()), {})
        pointer = f"?{path[0]}" if place == "query" and path else pointer_to(path)
        errors.append(FieldError(pointer, _code_of(one["type"]), _sentence(one)))
    return answer_problem(InvalidRequest.of_fields(errors), request_id_of(request))


async def _database_error(request: Request, error: Exception) -> Response:
    # What the statement itself got wrong is our mistake and must be seen as one; all else is the database being away.
    if isinstance(error, IntegrityError | ProgrammingError):
        raise error
    return answer_problem(away(), request_id_of(request))


_ANSWERS: dict[Any, Callable[[Request, Any], Awaitable[Response]]] = {
    RelayError: _relay_error,
    HTTPException: _http_error,
    RequestValidationError: _parameter_error,
    **dict.fromkeys(AWAY, _database_error),
}


def _field_error(one: ErrorDetails, marks: frozenset[str], known: Collection[str]) -> FieldError:
    pointer = pointer_to(step for step in one["loc"] if step not in marks)
    if one["type"] == "extra_forbidden":
        return FieldError(pointer, "unknown_field", f"There is no such field{offer_nearest(str(one['loc'][-1]), known)}")
    sentence = "It must be a string or an object." if "<object>" in one["loc"][-1:] and "<object>" in marks else _sentence(one)
    return FieldError(pointer, _code_of(one["type"]), sentence)


def offer_nearest(name: str, known: Collection[str]) -> str:
    """The end of a sentence about a misspelt name: `; do you mean X?` with an X of ours, never with what was sent."""
    near = difflib.get_close_matches(name[:64], sorted(known), n=1)
    return f"; do you mean {near[0]}?" if near else "."


_WORDS = {
    "extra_forbidden": ("unknown_field", "There is no such field."),
    "missing": ("missing", "The field is required."),
    "string_type": ("wrong_type", "It must be a string."),
    "string_unicode": ("invalid_text", "It contains half of a surrogate pair, which is no character."),
    "list_type": ("wrong_type", "It must be a list."),
    "dict_type": ("wrong_type", "It must be an object."),
    "model_type": ("wrong_type", "It must be an object."),
    "model_attributes_type": ("wrong_type", "It must be an object."),
    "union_tag_invalid": ("wrong_type", "It has the wrong type."),
    "union_tag_not_found": ("wrong_type", "It has the wrong type."),
    "string_too_long": ("too_long", ""),
    "string_too_short": ("too_short", ""),
    "too_long": ("too_many", ""),
    "too_short": ("too_few", ""),
    "literal_error": ("unknown_value", ""),
}
_SAFE = re.compile(r"[\x20-\x7e]{1,300}")


def _code_of(kind: str) -> str:
    return _WORDS[kind][0] if kind in _WORDS else kind


def _sentence(one: ErrorDetails | dict[str, Any]) -> str:
    """Pydantic's own sentences name limits and choices, never the input; what is not plain ASCII is not trusted to be so."""
    words = _WORDS.get(one["type"], ("", ""))[1] or f"{one['msg']}."
    return words if _SAFE.fullmatch(words) else "The value is not valid."


def _document(status: int, code: str, detail: str, request_id: str, errors: Sequence[FieldError]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "type": f"/problems/{code}",
        "title": TITLES.get(code, TITLES["internal"]),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }
    if errors:
        document["errors"] = [{"pointer": one.pointer, "code": one.code, "detail": one.detail} for one in errors]
    return document


def _answer(status: int, document: dict[str, Any], headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(document), status, headers, media_type=MEDIA_TYPE)
