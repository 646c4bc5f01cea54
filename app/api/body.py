"""Request bodies: read within bounds, as strict JSON, and checked against the model of their fields.

Stricter than a JSON parser must be (RFC 8259), as I-JSON (RFC 7493) is: UTF-8 only, no name twice in an object, no NaN or
Infinity. A body is refused by its Content-Length before a byte of it is read, and again while it comes in pieces; compressed
bodies are not taken (a bomb is cheap to send). A sender that goes silent is left after SILENCE_SECONDS.
"""

from __future__ import annotations

import asyncio
import json
import types
from collections.abc import AsyncIterator, Generator
from typing import Any, NoReturn, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.accounts.credentials import Sender
from app.api.door import find_sender, header_of
from app.api.problems import field_errors
from app.errors import InvalidRequest, MalformedRequest, MessageTooLarge, Unavailable

SILENCE_SECONDS = 20.0
WHOLE_BODY_SECONDS = 300.0
# What bodies in pieces may take of this process's memory together: a large one waits for none, it is told to come again.
_MOST_BYTES_UNDER_WAY = 256 * 1024 * 1024
_bytes_under_way = 0
# What a body may unfold to: a few megabytes of "[[],[],…" would take hundreds as objects. Long strings, files above all, are few values.
_MOST_NAMES = 200
_MOST_VALUES = 2_000_000

_Model = TypeVar("_Model", bound=BaseModel)


async def read_fields(request: Request, model: type[_Model], most_bytes: int, *scopes: str) -> tuple[Sender, _Model]:
    """The principal, who may do all of `scopes`, and the body as the model of its fields."""
    sender = await find_sender(request, *scopes)
    value, _ = await read_json(request, most_bytes)
    return sender, check_fields(model, value)


def check_fields(model: type[_Model], value: Any) -> _Model:
    """The value as the model has it; InvalidRequest points at each field that is wrong."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise InvalidRequest.of_fields(field_errors(error)) from error


async def read_json(request: Request, most_bytes: int) -> tuple[Any, bytes]:
    """The body's JSON value, and the body as it came."""
    body = await read_body(request, most_bytes)
    return parse_json(body), body


async def read_body(request: Request, most_bytes: int) -> bytes:
    """The body as it came. 415 unless it is declared as plain JSON, 413 beyond `most_bytes`, 408 when it stops coming."""
    content_type = header_of(request, b"content-type")
    if content_type != "application/json":
        _check_content_type(content_type)
    return await _read_whole(request, most_bytes)


async def read_mail(request: Request, most_bytes: int) -> bytes:
    """A finished mail as it came. 415 unless it is declared as one."""
    if (header_of(request, b"content-type") or "").partition(";")[0].strip().lower() != "message/rfc822":
        raise HTTPException(415, "The body must be a mail, sent with `Content-Type: message/rfc822`.")
    return await _read_whole(request, most_bytes)


async def _read_whole(request: Request, most_bytes: int) -> bytes:
    _check_declared(request, most_bytes)
    first = await _receive_first(request)
    body: bytes = first.get("body", b"")
    if len(body) > most_bytes:
        raise _too_large(most_bytes)
    return await _read_rest(request, body, most_bytes) if first.get("more_body") else body


async def read_pieces(request: Request, most_bytes: int) -> AsyncIterator[bytes]:
    """The body piece by piece, for who keeps none of it. 413 beyond `most_bytes`, 408 when it stops coming."""
    _check_declared(request, most_bytes)
    size, more = 0, True
    until = asyncio.get_running_loop().time() + WHOLE_BODY_SECONDS
    while more:
        left = until - asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(min(SILENCE_SECONDS, left)):
                message = await _receive(request)
        except TimeoutError as error:
            raise HTTPException(408, "The request body stopped coming.") from error
        piece, more = message.get("body", b""), message.get("more_body", False)
        size += len(piece)
        if size > most_bytes:
            raise _too_large(most_bytes)
        yield piece


def parse_json(body: bytes) -> Any:
    """The value of strict JSON text; MalformedRequest for anything else."""
    if len(body) > _MOST_VALUES and sum(body.count(mark) for mark in (b"[", b"{", b",")) > _MOST_VALUES:
        raise MalformedRequest("The body has too many values.")
    try:
        return _decode(body.decode())
    except UnicodeDecodeError as error:
        raise MalformedRequest("The body is not UTF-8.") from error
    except RecursionError as error:
        raise MalformedRequest("The body is nested too deeply.") from error
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"The body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}.") from error
    except ValueError as error:
        # Our own sentences of below, or the interpreter's bound on the digits of an integer.
        raise MalformedRequest(
            error.args[0] if isinstance(error, _LaxJsonError) else "The body contains a number that is too long."
        ) from error


class _LaxJsonError(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MOST_NAMES:
        raise _LaxJsonError(f"The body has an object with more than {_MOST_NAMES} names.")
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _LaxJsonError("The body has an object with the same name twice.")
    return made


def _refuse_constant(_name: str) -> NoReturn:
    raise _LaxJsonError("The body is not JSON: NaN and Infinity are no numbers of it.")


_decode = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse_constant).decode


def _check_content_type(content_type: str | None) -> None:
    media_type, _, parameters = (content_type or "").partition(";")
    if media_type.strip().lower() != "application/json":
        raise HTTPException(415, "The body must be JSON, sent with `Content-Type: application/json`.")
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() == "charset" and value.strip(' "').lower() not in ("utf-8", "utf8"):
        raise HTTPException(415, "The body must be UTF-8.")


def _check_declared(request: Request, most_bytes: int) -> None:
    """What the head of a request says of its body."""
    if (header_of(request, b"content-encoding") or "identity").lower() != "identity":
        raise HTTPException(415, "Compressed request bodies are not accepted; send it as it is.")
    declared = header_of(request, b"content-length") or ""
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > most_bytes:
        raise _too_large(most_bytes)


async def _read_rest(request: Request, start: bytes, most_bytes: int) -> bytes:
    """The pieces after the first, against the clock and the memory that all such bodies share."""
    global _bytes_under_way
    pieces, size = [start], len(start)
    _bytes_under_way += size
    try:
        async with asyncio.timeout(WHOLE_BODY_SECONDS):
            while True:
                async with asyncio.timeout(SILENCE_SECONDS):
                    message = await _receive(request)
                piece = message.get("body", b"")
                size += len(piece)
                _bytes_under_way += len(piece)
                if size > most_bytes:
                    raise _too_large(most_bytes)
                if _bytes_under_way > _MOST_BYTES_UNDER_WAY:
                    raise Unavailable("Too many large requests are under way.", retry_after_seconds=2)
                pieces.append(piece)
                if not message.get("more_body"):
                    return b"".join(pieces)
    except TimeoutError as error:
        raise HTTPException(408, "The request body stopped coming.") from error
    finally:
        _bytes_under_way -= size


async def _receive_first(request: Request) -> Any:
    """The first piece. It is at hand as a rule, and then no timer is made for it."""
    coming = request.receive().__await__()
    try:
        waits_for = next(coming)
    except StopIteration as at_hand:
        return _check_there(at_hand.value)
    try:
        async with asyncio.timeout(SILENCE_SECONDS):
            return _check_there(await _go_on(waits_for, coming))
    except TimeoutError as error:
        raise HTTPException(408, "The request body did not come.") from error


@types.coroutine
def _go_on(waits_for: Any, begun: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Wait on, for what was begun by hand and waits for this."""
    try:
        yield waits_for
    except BaseException as error:
        begun.throw(error)
        raise
    return (yield from begun)


async def _receive(request: Request) -> Any:
    return _check_there(await request.receive())


def _check_there(message: Any) -> Any:
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message


def _too_large(most_bytes: int) -> MessageTooLarge:
    return MessageTooLarge(f"A request body may have at most {most_bytes} bytes.")
