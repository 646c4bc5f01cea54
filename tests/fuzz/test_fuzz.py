"""A few hundred of the sessions of `./staffetta fuzz`, other ones each time the seed is changed by hand."""

from __future__ import annotations

from tests.fuzz.run import fuzz


async def test_odd_sessions_do_no_harm() -> None:
    verdict = await fuzz(250, seed=4)
    assert verdict.wrong == []
    assert verdict.accepted > 25
