"""Orders to erase a person: an account gives them, a worker carries them out, however long its history is.

What was in the hands of workers when an order was carried out leaves it open; it is taken up again by and by, and its counts add up.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict

import orjson

from app import store
from app.errors import Conflict
from app.feedback.erasure import erase, read_key
from app.store.db import Database, HotConnection
from app.store.erasure_orders import Order

MOST_OPEN = 100
TAKEN_SECONDS = 60.0
_RENEWED_SECONDS = 15.0
# States of the end, not sums.
_AS_THEY_ARE = ("suppressions_kept", "in_hand")


async def order_erasure(connection: HotConnection, account_id: int, email: str, ordered_by: str) -> Order:
    """Have an address erased. The order that is open for it already is the same one."""
    order_id = store.ids.new_id()
    order = await store.erasure_orders.insert_order(connection, account_id, order_id, read_key(email), ordered_by, MOST_OPEN)
    if order is None:
        raise Conflict(f"{MOST_OPEN} erasures wait already: wait until some are done.")
    return order


async def erase_next(database: Database) -> bool:
    """A step of a worker's loop: carry out one order; whether there was one. One that fails is taken up again when its time is over."""
    async with database.hot() as connection:
        order = await store.erasure_orders.take_order(connection, TAKEN_SECONDS)
    if order is not None:
        await carry_out(database, order)
    return order is not None


async def carry_out(database: Database, order: Order) -> None:
    """Erase what was ordered, and write down how much that was."""
    assert order.address is not None
    erasing = asyncio.create_task(erase(database, order.account_id, order.address))
    try:
        while not (await asyncio.wait({erasing}, timeout=_RENEWED_SECONDS))[0]:
            async with database.hot() as connection:
                await store.erasure_orders.renew_order(connection, order, TAKEN_SECONDS)
    finally:
        if not erasing.done():
            erasing.cancel()
            await asyncio.gather(erasing, return_exceptions=True)
    done = asdict(erasing.result())
    sums = Counter(orjson.loads(order.erased))
    sums.update({name: rows for name, rows in done.items() if name not in _AS_THEY_ARE})
    erased = {**dict.fromkeys(done, 0), **sums, **{name: done[name] for name in _AS_THEY_ARE}}
    async with database.hot() as connection:
        await store.erasure_orders.write_erased(connection, order, orjson.dumps(erased).decode(), finished=not done["in_hand"])
