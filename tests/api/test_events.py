"""GET /v1/events: everything, in order, once, from wherever one stopped."""

from __future__ import annotations

from typing import Any

import pytest

from app.api.events import MOST_PAGE_OCTETS, EventPage
from app.events.record import Event, EventType, record
from app.store.ids import new_id


async def _read(tenant: Any, **parameters: Any) -> dict[str, Any]:
    answer = await tenant.client.get("/v1/events", params=parameters)
    assert answer.status_code == 200, answer.text
    EventPage.model_validate_json(answer.content)
    page: dict[str, Any] = answer.json()
    return page


async def _read_all(tenant: Any, **parameters: Any) -> tuple[list[dict[str, Any]], str]:
    events: list[dict[str, Any]] = []
    page = await _read(tenant, **parameters)
    while True:
        events += page["events"]
        if not page["has_more"]:
            return events, page["next"]
        page = await _read(tenant, **parameters | {"after": page["next"]})


async def test_the_feed_goes_on_where_one_stopped(shop: Any) -> None:
    made = [(await shop.send(metadata={"n": str(n)}))["id"] for n in range(5)]
    for limit in (1, 2, 5, 100):
        events, end = await _read_all(shop, limit=limit)
        assert [each["message_id"] for each in events] == made
        assert {each["type"] for each in events} == {"message.accepted"}
        assert [each["metadata"]["n"] for each in events] == list("01234")
    more = await shop.send(to=["ada@example.com"], tags=["late"])
    events, last = await _read_all(shop, after=end)
    assert [each["message_id"] for each in events] == [more["id"]]
    assert events[0]["recipient_id"] is None
    assert events[0]["tags"] == ["late"]
    assert await _read_all(shop, after=last) == ([], last)


async def test_types_are_picked_out_and_the_cursor_passes_the_rest(rival: Any) -> None:
    messages = [await rival.send() for _ in range(6)]
    for place in (1, 4):
        assert (await rival.client.post(f"/v1/messages/{messages[place]['id']}/cancel")).status_code == 200
    for limit in (1, 2, 50):
        events, end = await _read_all(rival, types="message.cancelled", limit=limit)
        assert [each["message_id"] for each in events] == [messages[1]["id"], messages[4]["id"]]
        assert events[0]["recipient_id"] == messages[1]["recipients"][0]["id"]
        assert events[0]["email"] == "ada@example.com"
    assert (await _read(rival, types=["message.held", "message.bounced"]))["events"] == []
    assert (await _read_all(rival, after=end))[0] == []
    both, _ = await _read_all(rival, types=["message.cancelled", "message.accepted"], limit=3)
    assert len(both) == 8


async def test_a_page_of_large_events_ends_early_and_the_cursor_goes_on(house: Any, rival: Any) -> None:
    """The event of a mail that came in may have 80 KB."""
    _, end = await _read_all(rival, limit=1000)
    text = "語" * 25_000
    async with house.database.hot() as connection, connection.transaction():
        events = [Event(EventType.INBOUND_RECEIVED, rival.account_id, new_id(), 0, {"text": text, "n": n}) for n in range(130)]
        await record(connection, events)
    for types in (None, "inbound.received"):
        found: list[dict[str, Any]] = []
        pages, after, has_more = 0, end, True
        while has_more:
            answer = await rival.client.get("/v1/events", params={"limit": 1000, "after": after, **({"types": types} if types else {})})
            assert len(answer.content) <= MOST_PAGE_OCTETS
            page = answer.json()
            found += page["events"]
            pages, after, has_more = pages + 1, page["next"], page["has_more"]
        assert [one["facts"]["n"] for one in found] == list(range(130))
        assert pages == 3


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=1001", "after=x", "after=", "after=" + "a" * 101, "types=delivered", "types=", "after=bQAAAAAAAAAAAAAAAAAAAAA"),
        *("after=ZQAAAAAAAAAA", "after=Zf__________________________________", "after=ZQAAAAAAAAABAAAAAAAAAAAAAAAAAAAAAQ"),
    ],
)
async def test_wrong_parameters(shop: Any, query: str) -> None:
    answer = await shop.client.get(f"/v1/events?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == f"?{query.partition('=')[0]}"


async def test_a_parameter_that_does_not_exist_is_refused_and_not_passed_over(shop: Any) -> None:
    answer = await shop.client.get("/v1/events?type=message.bounced&limit=1")
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error == {"pointer": "?type", "code": "unknown_field", "detail": "There is no such parameter; do you mean types?"}
    assert (await shop.client.post("/v1/messages?dry_run=true", json=shop.message())).json()["errors"][0]["pointer"] == "?dry_run"


async def test_a_misspelt_field_is_offered_the_right_one(shop: Any) -> None:
    answer = await shop.client.post("/v1/messages", json={"from": 5, "to": "ada@example.com", "subjct": "x", "text": "y"})
    told = {error["pointer"]: error["detail"] for error in answer.json()["errors"]}
    assert told == {"#/subjct": "There is no such field; do you mean subject?", "#/from": "It must be a string or an object."}
