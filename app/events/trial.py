"""A test post: a webhook.test event, posted now, and its answer told. It is in no feed, is not tried again, and judges nobody's health."""

from __future__ import annotations

import time
from collections.abc import Sequence

from yarl import URL

from app.config import Settings
from app.events.attempts import make_attempt
from app.events.egress import client_of
from app.events.posts import encode, make_posts, sign
from app.events.record import EventType, as_facts
from app.store.events import FeedRow
from app.store.ids import new_id, public_id
from app.store.webhook_attempts import AttemptRow
from app.store.webhooks import Endpoint


async def post_test(endpoint: Endpoint, secrets: Sequence[bytes], settings: Settings) -> AttemptRow:
    """Post to an endpoint, whether it is enabled or not and whatever it wants; what came of it, to be recorded."""
    facts = as_facts({"webhook_id": public_id("whk", endpoint.id), "url": endpoint.url})
    event = FeedRow("0", new_id(), endpoint.id, EventType.WEBHOOK_TEST.value, 0, facts, None, None, None, None)
    (post,) = make_posts([event], endpoint.batch_size)
    body = encode(post)
    client = client_of(settings)
    try:
        began = time.monotonic()
        answer = await client.post(URL(endpoint.url), body, sign(secrets, post.webhook_id, int(time.time()), body))
        seconds = time.monotonic() - began
    finally:
        await client.close()
    return make_attempt(endpoint.account_id, endpoint.id, post, answer, seconds, kind="test", body=body)
