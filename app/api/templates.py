"""/v1/templates: mail that is written once and filled for every message.

A template has a name and versions, which never change; one of them may be published, and is what messages get that name none. A version
keeps the layouts and partials that it names as they were published when it was made. What is wrong with a template is told when it
is saved, with line and column; what is wrong with variables when it is previewed or used. The meaning of all that is `mail.template`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError
from starlette.responses import Response

from app import store
from app.accounts.credentials import Sender
from app.accounts.templates import TemplateUse, make_version, read_reference
from app.api.body import read_fields
from app.api.door import RawRoute, allow, answer_json, house_of
from app.api.openapi import json_body, refusals
from app.api.paging import TEMPLATES, read_id_cursor, write_id_cursor
from app.api.template_body import (
    BODIES,
    EXAMPLE,
    MOST_SOURCE_BYTES,
    NEXT_EXAMPLE,
    PREVIEW_EXAMPLE,
    SHOWN_VERSIONS,
    PreviewBody,
    PublishBody,
    TemplateBody,
    TemplateDetail,
    TemplateList,
    TemplatePreview,
    TemplateSource,
    VersionBody,
)
from app.errors import Conflict, FieldError, InvalidMessage, InvalidRequest, NotFound
from app.intake.labels import check_variables
from app.mail.template import Fault, Source, TemplateFault
from app.store.ids import askable, new_id, parse_public_id, public_id
from app.store.templates import NewVersion

MOST_BODY_BYTES = 2 * 1024 * 1024
MOST_TEMPLATES = 1_000
MOST_VERSIONS = 10_000
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
__all__ = ["BODIES", "router"]

router = APIRouter(tags=["templates"])
Reader = Annotated[Sender, Depends(allow("templates:read"))]
Writer = Annotated[Sender, Depends(allow("templates:write"))]
_WRITING = refusals(400, 401, 403, 408, 409, 413, 415, 422, 429, 503)


async def create_template(request: Request) -> Response:
    """POST /v1/templates."""
    house = house_of(request)
    sender, body = await read_fields(request, TemplateBody, MOST_BODY_BYTES, "templates:write")
    faults = [] if _NAME.fullmatch(body.name) and parse_public_id("tpl", body.name) is None else [_wrong_name()]
    source = _check_source(Source(body.subject, body.html, body.text), body.defaults, faults)
    version = await _freeze(request, sender, body.name, source, body.defaults)
    template_id = new_id()
    async with house.database.transaction() as connection:
        if await store.templates.count_templates(connection, sender.account_id) >= MOST_TEMPLATES:
            raise Conflict(f"An account has at most {MOST_TEMPLATES} templates.")
        try:
            await store.templates.insert_template(connection, sender.account_id, template_id, body.name)
        except IntegrityError as error:
            raise Conflict("This account has a template of that name.") from error
        await store.templates.insert_version(connection, sender.account_id, template_id, version, publish=body.publish)
        shown = await _show_detail(connection, sender.account_id, template_id)
    house.templates.forget(sender.account_id)
    return answer_json(shown, 201, {"Location": f"/v1/templates/{shown['id']}"})


async def create_version(request: Request) -> Response:
    """POST /v1/templates/{id}/versions."""
    house = house_of(request)
    sender, body = await read_fields(request, VersionBody, MOST_BODY_BYTES, "templates:write")
    async with house.database.reading() as connection:
        row = await _find(connection, sender, request.path_params["id"])
        last = await store.templates.find_version(connection, sender.account_id, row.id, row.newest)
    assert last is not None
    if row.newest >= MOST_VERSIONS:
        raise Conflict(f"A template has at most {MOST_VERSIONS} versions.")
    given = body.model_fields_set
    parts = (getattr(body if part in given else last, part) for part in ("subject", "html", "text"))
    defaults = body.defaults if "defaults" in given else last.defaults
    source = _check_source(Source(*parts), defaults, [])
    version = await _freeze(request, sender, row.name, source, defaults)
    async with house.database.transaction() as connection:
        if await store.templates.insert_version(connection, sender.account_id, row.id, version, publish=body.publish) is None:
            raise _not_found()
        shown = await _show_detail(connection, sender.account_id, row.id)
    house.templates.forget(sender.account_id)
    return answer_json(shown, 201)


async def publish_version(request: Request) -> Response:
    """POST /v1/templates/{id}/publish."""
    house = house_of(request)
    sender, body = await read_fields(request, PublishBody, MOST_BODY_BYTES, "templates:write")
    async with house.database.transaction() as connection:
        row = await _find(connection, sender, request.path_params["id"])
        if not await store.templates.publish_version(connection, sender.account_id, row.id, body.version):
            raise _no_version("#/version")
        shown = await _show_detail(connection, sender.account_id, row.id)
    house.templates.forget(sender.account_id)
    return answer_json(shown)


async def preview_template(request: Request) -> Response:
    """POST /v1/templates/{id}/preview."""
    house = house_of(request)
    sender, body = await read_fields(request, PreviewBody, MOST_BODY_BYTES, "templates:read")
    try:
        size = check_variables(body.variables)
    except ValueError as error:
        raise InvalidRequest.of_fields([FieldError("#/variables", *error.args)]) from error
    async with house.database.reading() as connection:
        row = await _find(connection, sender, request.path_params["id"])
    number = body.version or row.newest
    version = await house.templates.find(sender.account_id, public_id("tpl", row.id), number)
    if version is None:
        raise _no_version("#/version")
    try:
        made = await house.templates.render_version(sender.account_id, version, TemplateUse("", number, body.variables, body.locale, size))
    except InvalidMessage as error:
        raise InvalidRequest(error.message, errors=error.errors) from error
    return answer_json({"version": number, "subject": made.subject, "html": made.html, "text": made.text})


@router.get(
    "/v1/templates",
    operation_id="listTemplates",
    summary="List templates",
    response_model=TemplateList,
    responses=refusals(401, 403, 422, 503),
)
async def list_templates(
    request: Request,
    sender: Reader,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=100)] = None,
) -> Response:
    before = read_id_cursor(TEMPLATES, cursor)
    async with house_of(request).database.reading() as connection:
        rows = await store.templates.list_templates(connection, sender.account_id, before, limit + 1)
    more = write_id_cursor(TEMPLATES, rows[limit - 1].id) if len(rows) > limit else None
    return answer_json({"templates": [_show(row) for row in rows[:limit]], "next": more})


@router.get(
    "/v1/templates/{id}",
    operation_id="getTemplate",
    summary="See a template and its newest version",
    response_model=TemplateDetail,
    responses=refusals(401, 403, 404, 503),
)
async def show_template(request: Request, sender: Reader, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    async with house_of(request).database.reading() as connection:
        row = await _find(connection, sender, id)
        return answer_json(await _show_detail(connection, sender.account_id, row.id))


@router.get(
    "/v1/templates/{id}/versions/{version}",
    operation_id="getTemplateVersion",
    summary="See a version of a template",
    response_model=TemplateSource,
    responses=refusals(401, 403, 404, 503),
)
async def show_version(request: Request, sender: Reader, id: str, version: str) -> Response:  # noqa: A002
    number = int(version) if version.isascii() and version.isdigit() and len(version) < 10 else 0
    async with house_of(request).database.reading() as connection:
        row = await _find(connection, sender, id)
        found = await store.templates.find_version(connection, sender.account_id, row.id, number)
    if found is None:
        raise _not_found()
    return answer_json(_show_source(found))


@router.delete(
    "/v1/templates/{id}",
    operation_id="deleteTemplate",
    summary="Take a template out of use",
    status_code=204,
    responses={204: {"description": "No message can name it any more, and its name is free."}, **refusals(401, 403, 404, 503)},
)
async def delete_template(request: Request, sender: Writer, id: str) -> Response:  # noqa: A002  (the name of the path's parameter)
    house = house_of(request)
    async with house.database.transaction() as connection:
        row = await _find(connection, sender, id)
        await store.templates.archive_template(connection, sender.account_id, row.id)
    house.templates.forget(sender.account_id)
    return Response(status_code=204)


_ID = {"name": "id", "in": "path", "required": True, "description": "`tpl_…`, or its name", "schema": {"type": "string"}}
for _path, _endpoint, _operation, _summary, _status, _model, _body, _example in (
    ("", create_template, "createTemplate", "Make a template", 201, TemplateDetail, TemplateBody, EXAMPLE),
    (
        "/{id}/versions",
        create_version,
        "createTemplateVersion",
        "Make a new version of a template",
        201,
        TemplateDetail,
        VersionBody,
        NEXT_EXAMPLE,
    ),
    ("/{id}/publish", publish_version, "publishTemplate", "Publish a version", 200, TemplateDetail, PublishBody, {"version": 2}),
    ("/{id}/preview", preview_template, "previewTemplate", "Fill a template", 200, TemplatePreview, PreviewBody, PREVIEW_EXAMPLE),
):
    router.add_api_route(
        f"/v1/templates{_path}",
        _endpoint,
        methods=["POST"],
        operation_id=_operation,
        summary=_summary,
        status_code=_status,
        response_model=None,
        responses={_status: {"model": _model, "description": f"{_summary}: done."}, **_WRITING, **(refusals(404) if _path else {})},
        openapi_extra={"parameters": [_ID] if _path else [], "requestBody": json_body(_body, _example)},
        route_class_override=RawRoute,
    )


async def _find(connection: Any, sender: Sender, reference: str) -> Row[Any]:
    row = await store.templates.find_template(connection, sender.account_id, *read_reference(askable(reference)))
    if row is None:
        raise _not_found()
    return row


def _check_source(source: Source, defaults: dict[str, Any], faults: list[FieldError]) -> Source:
    """What the types cannot say."""
    written = [(field, getattr(source, field)) for field in ("subject", "html", "text") if getattr(source, field) is not None]
    if source.html is None and source.text is None:
        faults.append(FieldError("#/html", "missing", "A template has html, text or both."))
    for field, text in written:
        if "\0" in text or (not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text)):
            faults.append(FieldError(f"#/{field}", "invalid_text", "It contains a NUL character or half of a surrogate pair."))
    if sum(len(text.encode("utf-8", "replace")) for _, text in written) > MOST_SOURCE_BYTES:
        faults.append(FieldError("#/html", "too_long", f"A template has at most {MOST_SOURCE_BYTES} bytes."))
    try:
        check_variables(defaults)
    except ValueError as error:
        faults.append(FieldError("#/defaults", *error.args))
    if faults:
        raise InvalidRequest.of_fields(faults)
    return source


async def _freeze(request: Request, sender: Sender, name: str, source: Source, defaults: dict[str, Any]) -> NewVersion:
    house = house_of(request)
    try:
        return await make_version(house.database, house.renderer, sender.account_id, name, source, defaults)
    except TemplateFault as error:
        raise InvalidRequest.of_fields([_field_of_source(error.fault)]) from error


def _field_of_source(fault: Fault) -> FieldError:
    return FieldError(f"#/{fault.part or 'html'}", fault.code, fault.sentence)


async def _show_detail(connection: Any, account_id: int, template_id: UUID) -> dict[str, Any]:
    row = await store.templates.find_template(connection, account_id, template_id, None)
    if row is None:
        raise _not_found()
    source = await store.templates.find_version(connection, account_id, template_id, row.newest)
    versions = await store.templates.list_versions(connection, account_id, template_id, SHOWN_VERSIONS)
    listed = [{"version": one.number, "created_at": one.created_at, "uses": one.uses} for one in versions]
    return _show(row) | {"source": _show_source(source), "versions": listed}


def _show(row: Any) -> dict[str, Any]:
    return {
        "id": public_id("tpl", row.id),
        "name": row.name,
        "published": row.published,
        "newest": row.newest,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _show_source(row: Any) -> dict[str, Any]:
    written = {field: getattr(row, field) for field in ("subject", "html", "text", "defaults")}
    return {"version": row.number, "created_at": row.created_at, "uses": row.uses} | written


def _wrong_name() -> FieldError:
    return FieldError(
        "#/name", "invalid_name", "A name is lower-case letters, digits, dots, dashes and underscores, beginning with a letter or digit."
    )


def _no_version(pointer: str) -> InvalidRequest:
    return InvalidRequest.of_fields([FieldError(pointer, "unknown_version", "The template has no such version.")])


def _not_found() -> NotFound:
    return NotFound("There is no such template.")
