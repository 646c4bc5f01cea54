"""Limited processes: templates that mean harm, and that nobody else notices them."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
from babel import localedata

from app.errors import Throttled, Unavailable
from app.mail.template import FrozenSet, Rendered, Source, TemplateFault, UnknownNames
from app.rendering import Renderer
from app.rendering.child import MOST_MEMORY
from tests.rendering_cases import CASES, ESCAPES, VARIABLES, Case

GREETING = Source("Hello {{ name }}", "<p>Hello {{ name }}</p>", None)
# Not proven: an assignment. It goes to a process.
ELSEWHERE = Source("Hello", "{% set who = name %}<p>Hello {{ who }}</p>", None)
ENDLESS = Source(None, "{% for x in 'aaaaaaaaaa' %}" * 12 + "{% endfor %}" * 12, None)


@pytest.fixture(scope="module")
async def renderer() -> AsyncIterator[Renderer]:
    opened = Renderer(processes=2)
    yield opened
    await opened.close()


async def fill(renderer: Renderer, frozen: FrozenSet, variables: dict[str, Any], *, account: int = 1, name: str = "x") -> Rendered:
    return await renderer.render(account, (name, 1), frozen, variables, "en_US", len(orjson.dumps(variables)))


async def be_compiled(renderer: Renderer, frozen: FrozenSet, variables: dict[str, Any], name: str, *, account: int = 1) -> None:
    """Use a set until it is rendered here: compiling may have to wait for a rest to end."""
    async with asyncio.timeout(20):
        while renderer.render_here((account, name, 1), frozen, variables, "en_US", len(orjson.dumps(variables))) is None:
            await fill(renderer, frozen, variables, account=account, name=name)


async def run_case(renderer: Renderer, case: Case, account: int) -> str:
    """What comes out, or the sentence that says why nothing does."""
    try:
        frozen = await renderer.freeze(account, "case", case.sources)
        variables = VARIABLES | case.variables
        made = await renderer.render(account, (case.name, 1), frozen, variables, case.locale, len(orjson.dumps(variables)))
    except UnknownNames as unknown:
        return f"not there: {unknown}"
    except (TemplateFault, Unavailable) as error:
        return str(error)
    return f"{made.subject}{made.html}{made.text}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_it_ends_and_harms_nobody(renderer: Renderer, case: Case) -> None:
    said = await run_case(renderer, case, account=100 + CASES.index(case))
    assert [leak for leak in case.leaks if leak in said] == []
    assert len(said) < 3_000_000
    frozen = await renderer.freeze(2, "greeting", {"greeting": ELSEWHERE})
    assert (await fill(renderer, frozen, {"name": "Ada"}, account=2)).html == "<p>Hello Ada</p>"


@pytest.mark.parametrize("case", ESCAPES, ids=lambda case: case.name)
async def test_an_escape_is_told(renderer: Renderer, case: Case) -> None:
    said = await run_case(renderer, case, account=200)
    assert "known to the account" not in said
    assert "missing" in said or "called" in said or "not there" in said or "No filter" in said or "unexpected" in said


async def test_a_proven_template_is_rendered_here_from_its_second_use(renderer: Renderer) -> None:
    frozen = await renderer.freeze(1, "greeting", {"greeting": GREETING})
    assert frozen.proven
    made = Rendered("Hello <Ada>", "<p>Hello &lt;Ada&gt;</p>", "Hello <Ada>\n")
    for here in (None, made):
        assert await fill(renderer, frozen, {"name": "<Ada>"}, name="g") == made
        assert renderer.render_here((1, "g", 1), frozen, {"name": "<Ada>"}, "en_US", 10) == here


async def test_here_and_there_say_the_same_of_what_is_missing(renderer: Renderer) -> None:
    frozen = await renderer.freeze(1, "greeting", {"greeting": Source("s", "<p>\n{{ order.lines[0].price }}", None)})
    faults = []
    for _ in range(2):
        with pytest.raises(TemplateFault) as caught:
            await fill(renderer, frozen, {"order": {"lines": [{}]}}, name="missing")
        faults.append(caught.value.fault)
    assert faults[0] == faults[1]
    assert (faults[0].variable, faults[0].part, faults[0].line) == (("order", "lines", 0, "price"), "html", 2)


async def test_much_work_is_not_done_here(renderer: Renderer) -> None:
    source = Source(None, "{% for a in items %}{% for b in items %}{{ b }}{% endfor %}{% endfor %}", None)
    frozen = await renderer.freeze(1, "square", {"square": source})
    few, many = {"items": [1] * 10}, {"items": [1] * 300}
    await be_compiled(renderer, frozen, few, "square")
    assert renderer.render_here((1, "square", 1), frozen, few, "en_US", 40) is not None
    assert renderer.render_here((1, "square", 1), frozen, many, "en_US", 1_000) is None
    assert (await fill(renderer, frozen, many, name="square")).html == "1" * 90_000


async def test_who_writes_bombs_waits_for_nobody_else_s_process() -> None:
    renderer = Renderer(processes=1)
    try:
        bomb = await renderer.freeze(1, "bomb", {"bomb": ENDLESS})
        good = await renderer.freeze(2, "good", {"good": ELSEWHERE})
        with pytest.raises((TemplateFault, Unavailable), match=r"takes|busy"):
            await fill(renderer, bomb, {}, account=1)
        ended = [asyncio.create_task(fill(renderer, bomb, {}, account=1)) for _ in range(3)]
        await asyncio.sleep(0)
        for _ in range(20):
            assert (await fill(renderer, good, {"name": "Ada"}, account=2)).html == "<p>Hello Ada</p>"
        assert not any(task.done() for task in ended[1:])
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)
    finally:
        await renderer.close()


async def test_a_long_line_of_one_account_is_refused() -> None:
    renderer = Renderer(processes=1)
    try:
        frozen = await renderer.freeze(1, "x", {"x": ELSEWHERE})
        results = await asyncio.gather(*(fill(renderer, frozen, {"name": "a"}) for _ in range(150)), return_exceptions=True)
        assert {type(one) for one in results} == {Rendered, Throttled}
        assert sum(isinstance(one, Rendered) for one in results) == 100
    finally:
        await renderer.close()


async def test_a_process_that_is_killed_is_replaced() -> None:
    renderer = Renderer(processes=1)
    try:
        frozen = await renderer.freeze(1, "x", {"x": ELSEWHERE})
        (pid,) = renderer.pool.pids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TemplateFault):
            await fill(renderer, frozen, {"name": "a"}, account=3)
        assert (await fill(renderer, frozen, {"name": "a"}, account=4)).html == "<p>Hello a</p>"
    finally:
        await renderer.close()


async def test_a_process_that_is_not_let_run_is_the_machine_s_fault() -> None:
    renderer = Renderer(processes=1)
    try:
        frozen = await renderer.freeze(1, "x", {"x": ELSEWHERE})
        (pid,) = renderer.pool.pids()
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(Unavailable, match="busy"):
            await fill(renderer, frozen, {"name": "a"}, account=1)
        assert (await fill(renderer, frozen, {"name": "a"}, account=1)).html == "<p>Hello a</p>"
    finally:
        await renderer.close()


async def test_what_a_process_may_reach() -> None:
    renderer = Renderer(processes=1)
    try:
        await renderer.freeze(1, "x", {"x": GREETING})
        (pid,) = renderer.pool.pids()
        child = psutil.Process(pid)
        assert child.rlimit(psutil.RLIMIT_AS) == (MOST_MEMORY, MOST_MEMORY)
        assert child.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
        assert child.rlimit(psutil.RLIMIT_NPROC) == (0, 0)
        assert {name for name in child.environ() if name.startswith("STAFFETTA")} == set()
        kinds = {str(place.readlink()).partition(":")[0] for place in Path(f"/proc/{pid}/fd").iterdir()}
        assert kinds <= {"pipe", "socket", os.devnull, f"/proc/{pid}/statm"}
        assert Path(f"/proc/{pid}/cwd").readlink() == Path("/")
    finally:
        await renderer.close()


async def test_after_a_bomb_the_next_process_is_begun_at_once() -> None:
    renderer = Renderer(processes=1)
    try:
        bomb = await renderer.freeze(1, "bomb", {"bomb": ENDLESS})
        with pytest.raises((TemplateFault, Unavailable)):
            await fill(renderer, bomb, {}, account=1)
        async with asyncio.timeout(20):
            while not renderer.pool.pids():
                await asyncio.sleep(0.01)
    finally:
        await renderer.close()


async def test_sets_are_compiled_beside_what_else_is_done() -> None:
    """The largest that is proven, and its check: the loop goes on, and others are rendered meanwhile."""
    renderer = Renderer(processes=1)
    pauses = [0.0]

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            pauses.append(time.perf_counter() - began)

    ticking = asyncio.create_task(tick())
    try:
        frozen = await renderer.freeze(1, "large", {"large": Source("s", "".join(f"<td>{{{{ a.b{n} }}}}</td>\n" for n in range(300)), "-")})
        assert frozen.proven
        variables = {"a": {f"b{n}": n for n in range(300)}}
        await fill(renderer, frozen, variables, name="large")
        pauses.clear()
        made, checked = await asyncio.gather(
            fill(renderer, frozen, variables, name="large"), renderer.check(1, ("large", 1), frozen, variables, "en_US", 3_000)
        )
        assert renderer.render_here((1, "large", 1), frozen, variables, "en_US", 3_000) == made
        assert checked.subject == "s"
        assert max(pauses) < 0.5
    finally:
        ticking.cancel()
        await renderer.close()


async def test_who_brings_ever_new_sets_has_a_part_of_the_process_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(processes=1, keen=True)
    monkeypatch.setattr("app.rendering.renderer._REST", 10_000)
    try:
        for number in range(3):
            frozen = await renderer.freeze(1, "x", {"x": Source("s", f"<p>{{{{ name }}}} {number}</p>", None)})
            assert (await fill(renderer, frozen, {"name": "a"}, name=f"x{number}")).html == f"<p>a {number}</p>"
            assert (renderer.render_here((1, f"x{number}", 1), frozen, {"name": "a"}, "en_US", 10) is None) == (number > 0)
    finally:
        await renderer.close()


async def test_what_is_compiled_is_kept_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(processes=1, keen=True)
    monkeypatch.setattr("app.rendering.renderer._KEPT_LETTERS", 5_000)
    monkeypatch.setattr("app.rendering.renderer._REST", 0)
    try:
        frozen = await renderer.freeze(1, "x", {"x": Source(None, "<p>{{ name }}</p>" + " " * 900, "-")})
        for number in range(9):
            await be_compiled(renderer, frozen, {"name": "a"}, "first")
            await be_compiled(renderer, frozen, {"name": "a"}, f"x{number}")
        kept = [renderer.render_here((1, name, 1), frozen, {"name": "a"}, "en_US", 10) is not None for name in ("first", "x0", "x8")]
        assert kept == [True, False, True]
    finally:
        await renderer.close()


async def test_languages_are_loaded_here_so_many_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = Renderer(processes=1)
    monkeypatch.setattr("app.rendering.renderer._KEPT_LOCALES", 4)
    monkeypatch.setattr("app.rendering.renderer._KEPT_LOCALES_OF_ACCOUNT", 3)
    try:
        frozen = await renderer.freeze(1, "x", {"x": Source(None, None, "{{ n|number(1) }}")})
        for account in (1, 2):
            await be_compiled(renderer, frozen, {"n": 1}, "x", account=account)

        def here(account: int, locale: str) -> str | None:
            made = renderer.render_here((account, "x", 1), frozen, {"n": 1}, locale, 10)
            return made.text if made is not None else None

        assert [here(1, locale) for locale in ("it", "de", "sv", "it")] == ["1,0", "1,0", None, "1,0"]
        assert [here(2, locale) for locale in ("de", "fi", "pl")] == ["1,0", "1,0", None]
        made = await renderer.render(2, ("x", 1), frozen, {"n": 1}, "pl", 10)
        assert made.text == "1,0"
        monkeypatch.setattr("app.rendering.renderer._LOCALES_SECONDS", 0)
        assert here(2, "pl") == "1,0"
        assert "it" not in localedata._cache and "pl" in localedata._cache
    finally:
        await renderer.close()


async def test_memory_that_others_fill_is_nobody_s_fault() -> None:
    renderer = Renderer(processes=1)
    try:
        good = await renderer.freeze(2, "good", {"good": ELSEWHERE})
        for _ in range(12):  # until it is no newcomer, and has the process of all
            await fill(renderer, good, {"name": "Ada"}, account=2)
        for number in range(32):  # some two megabytes each
            html = "{% set a = 1 %}" + f"\U0001f600{number}" * 40_000
            frozen = FrozenSet("x", {"x": html}, {"x": html}, derived=False, proven=False)
            assert (await fill(renderer, frozen, {}, account=1, name=f"x{number}")).html
        hungry = FrozenSet("x", {}, {"x": "{% set a = (text ~ text)|list %}{{ a|length }}"}, derived=False, proven=False)
        assert (await fill(renderer, hungry, {"text": "x" * 9_000_000}, account=2, name="hungry")).text == "18000000"
        # And long before memory ends, a process makes room for a new one.
        for number in range(32, 80):
            html = "{% set a = 1 %}" + f"\U0001f600{number}" * 40_000
            frozen = FrozenSet("x", {"x": html}, {"x": html}, derived=False, proven=False)
            assert (await fill(renderer, frozen, {}, account=1, name=f"x{number}")).html
        assert max(psutil.Process(pid).memory_info().vms for pid in renderer.pool.pids()) < 0.65 * MOST_MEMORY
    finally:
        await renderer.close()
