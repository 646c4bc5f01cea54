"""Leaving a stream and choosing among streams, by the token in a mail.

GET /u/TOKEN    a page with a button; looking at it, by a person or a scanner, does nothing
POST /u/TOKEN   leaves the stream, at once and without asking back (RFC 8058 §3.2): 200, no redirect, no cookie. With `again` joins it
GET /p/TOKEN    the account's bulk streams with a box for each; POST leaves those whose box is empty, joins the others

What is no token of ours is not there, and costs neither a body nor the database. Without PostgreSQL nothing is done and nothing is claimed:
503. Who may do what, and what comes of it, is feedback.engagement's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from app import log
from app.accounts.streams import Stream
from app.errors import Unavailable
from app.feedback.engagement import Reader, Way, choose, find_left, find_reader
from app.mail.tokens import MAC_PURPOSE, Token, TokenKind, TokenWriter, read_token
from app.mail.unsubscribe import PREFERENCES_PATH, UNSUBSCRIBE_PATH
from app.public.forms import NotRead, Turnstile, read_form
from app.public.pages import page, try_later, unknown_link, words_for
from app.public.words import Words
from app.store.db import AWAY

RETRY_AFTER_SECONDS = 30
_AWAY: tuple[type[BaseException], ...] = (*AWAY, Unavailable)

router = APIRouter()
Answer = Callable[[Any, Token, Reader, Request, Words], Awaitable[Response]]


async def unsubscribe(request: Request) -> Response:
    """GET, HEAD and POST of /u/TOKEN."""
    return await _answer(request, TokenKind.UNSUBSCRIBE, _show_stream, _leave_or_join)


async def preferences(request: Request) -> Response:
    """GET, HEAD and POST of /p/TOKEN."""
    return await _answer(request, TokenKind.PREFERENCES, _show_choice, _take_choice)


for _path, _endpoint in ((UNSUBSCRIBE_PATH, unsubscribe), (PREFERENCES_PATH, preferences)):
    router.add_api_route(_path + "{token}", _endpoint, methods=["GET", "HEAD", "POST"], include_in_schema=False, response_model=None)


async def _answer(request: Request, kind: TokenKind, show: Answer, act: Answer) -> Response:
    house: Any = request.app.state.house
    words = words_for(request)
    token = read_token(request.path_params["token"], lambda key_id: house.keyring.find_mac_key(MAC_PURPOSE, key_id))
    if token is None or token.kind is not kind:
        return unknown_link(words)
    if request.method != "POST":
        return await _serve(request, token, words, show)
    turnstile = _turnstile_of(request)
    if turnstile.is_full:
        return try_later(words, 503, seconds=RETRY_AFTER_SECONDS)
    if not turnstile.may_try(token.recipient_id):
        return try_later(words, 429, seconds=RETRY_AFTER_SECONDS)
    turnstile.under_way += 1
    try:
        return await _serve(request, token, words, act)
    finally:
        turnstile.under_way -= 1


async def _serve(request: Request, token: Token, words: Words, answer: Answer) -> Response:
    house: Any = request.app.state.house
    try:
        reader = await find_reader(house.database, token)
        return await answer(house, token, reader, request, words) if reader is not None else unknown_link(words)
    except NotRead as error:
        return try_later(words, error.status, seconds=RETRY_AFTER_SECONDS)
    except _AWAY as error:
        log.reader_not_served(error)
        return try_later(words, 503, seconds=RETRY_AFTER_SECONDS)


def _turnstile_of(request: Request) -> Turnstile:
    state = request.app.state
    if not hasattr(state, "turnstile"):
        state.turnstile = Turnstile()
    found: Turnstile = state.turnstile
    return found


# --- one stream


async def _show_stream(house: Any, token: Token, reader: Reader, _request: Request, words: Words) -> Response:
    stream = token.payload.decode()
    has_left = stream in await find_left(house.database, reader)
    return await _stream_page(house, reader, stream, words, title=words.left_title if has_left else words.leave_title, has_left=has_left)


async def _leave_or_join(house: Any, token: Token, reader: Reader, request: Request, words: Words) -> Response:
    fields, is_one_click = await read_form(request)
    stream = token.payload.decode()
    joins = "again" in fields and not is_one_click
    await choose(
        house.database,
        house.wakes,
        reader,
        leave=() if joins else (stream,),
        join=(stream,) if joins else (),
        way=Way.ONE_CLICK if is_one_click else Way.PAGE,
    )
    return await _stream_page(house, reader, stream, words, title=words.joined_title if joins else words.left_title, has_left=not joins)


async def _stream_page(house: Any, reader: Reader, stream: str, words: Words, *, title: str, has_left: bool) -> Response:
    known: Stream | None = (await house.streams.of_account(reader.account_id)).get(stream)
    sentence = words.left if has_left else words.joined if title == words.joined_title else words.leave
    return page(
        "unsubscribe.html",
        words,
        title=title,
        text=sentence.format(title=known.title if known is not None else stream, address=reader.address),
        sender=reader.sender,
        has_left=has_left,
        preferences=_preferences_path(house, reader),
    )


def _preferences_path(house: Any, reader: Reader) -> str:
    key_id = house.keyring.current_id
    writer = TokenWriter(key_id, house.keyring.mac_key(MAC_PURPOSE, key_id), reader.account_id, reader.recipient_id)
    return PREFERENCES_PATH + writer.write(TokenKind.PREFERENCES, [b""])[0].decode()


# --- all streams


async def _show_choice(house: Any, _token: Token, reader: Reader, _request: Request, words: Words) -> Response:
    streams = await _bulk_streams(house, reader)
    return _choice_page(reader, streams, await find_left(house.database, reader), words, is_saved=False)


async def _take_choice(house: Any, _token: Token, reader: Reader, request: Request, words: Words) -> Response:
    fields, _ = await read_form(request)
    streams = await _bulk_streams(house, reader)
    if "save" not in fields:  # not of the page: no box of it was seen, so none was emptied
        return _choice_page(reader, streams, await find_left(house.database, reader), words, is_saved=False)
    wanted = set(fields.get("stream", ()))
    leave = frozenset(one.name for one in streams if one.name not in wanted)
    join = frozenset(one.name for one in streams if one.name in wanted)
    await choose(house.database, house.wakes, reader, leave=leave, join=join, way=Way.PREFERENCES)
    return _choice_page(reader, streams, leave, words, is_saved=True)


async def _bulk_streams(house: Any, reader: Reader) -> list[Stream]:
    found: dict[str, Stream] = await house.streams.of_account(reader.account_id)
    return sorted((one for one in found.values() if one.lane_class), key=lambda one: one.title.casefold())


def _choice_page(reader: Reader, streams: list[Stream], left: frozenset[str], words: Words, *, is_saved: bool) -> Response:
    return page(
        "preferences.html",
        words,
        title=words.choose_title,
        text=words.choose.format(address=reader.address),
        sender=reader.sender,
        streams=[(one, one.name not in left) for one in streams],
        is_saved=is_saved,
    )
