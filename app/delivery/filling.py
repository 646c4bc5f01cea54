"""Filling: a message that was accepted with a template becomes mail here, right before it leaves.

A filling is a message's own part of a mould (store.moulds). The fixed version is rendered with its variables, composed and its tracking
planned; the header block is the one that was written at accept. All of it follows from what is stored, and boundaries from the message's
id: every attempt gives the same octets.

    at once       a version in memory that is proven, and little to do: on the way, as whole contents are
    with a wait   everything else: the version is loaded, a limited process renders

Variables were checked when the message was accepted, so what fails here is rare: a template that was refused by a newer release, output
that is too large. That is told by InvalidMessage and final. What may do better another time is told by NotNow, and costs no attempt: no
process to render in, one that was ended from outside, or an account whose templates are so slow that its mail would hold connections
which others need.
"""

from __future__ import annotations

import time
from collections import defaultdict

import orjson

from app.accounts.templates import TemplateBook, TemplateInterrupted, TemplateUse, Version
from app.config import Settings
from app.delivery.lanes import Filling, Job
from app.errors import InvalidMessage, Throttled, Unavailable
from app.mail.compose import compose_body
from app.mail.finish import CLICKS, OPENS
from app.mail.template import Rendered
from app.mail.tracking import CutBody, cut_body, plan_composed
from app.recent import Recent

_POOL_SECONDS = 10.0
_INTERRUPTED_SECONDS = 300.0
# An account's mail waits for limited processes as long as this with a connection in hand; what comes later is put off.
_LONGEST_LINE_SECONDS = 1.0
_FIRST_GUESS_SECONDS = 0.02
_REMEMBERED = 5_000


class NotNow(Exception):
    """It cannot be rendered now, which is nobody's fault: the reason, and for how long to leave it alone."""

    def __init__(self, reason: str, seconds: float) -> None:
        super().__init__(reason)
        self.reason = reason
        self.seconds = seconds


class Filler:
    """Makes the mail of fillings in one worker."""

    def __init__(self, templates: TemplateBook, settings: Settings) -> None:
        self._templates = templates
        self._most_bytes = settings.max_message_bytes
        self._own_urls = (f"{settings.public_url.rstrip('/')}/",)
        self._waiting: defaultdict[int, int] = defaultdict(int)
        self._takes: Recent[int, float] = Recent(_REMEMBERED)  # seconds of an account's renders elsewhere, about

    def fill_at_once(self, job: Job) -> bool:
        """Make the mail of a job if nothing must be waited for; whether it is there. InvalidMessage when there can be none."""
        filling = job.filling
        if filling is None:
            return True
        if filling.made is None:
            mould = filling.mould
            version = self._templates.kept(mould.account_id, mould.template_id, mould.version)
            if version is None:
                return False
            head, use = _open(filling, version)
            rendered = self._templates.render_at_once(mould.account_id, version, use)
            if rendered is None:
                return False
            filling.made = self._compose(filling, head, rendered, job.deliverable.adds)
        job.head, job.body, job.cut = filling.made
        return True

    async def fill(self, job: Job) -> None:
        """Make the mail of a job. InvalidMessage when there can be none, NotNow when it must wait, Unavailable without the database."""
        filling = job.filling
        if filling is None:
            return
        mould = filling.mould
        version = await self._templates.fixed(mould.account_id, mould.template_id, mould.version)
        if version is None:
            raise InvalidMessage("The version of its template is no longer kept.")
        async with filling.turn:  # the other recipients of the message take what the first one makes
            if not self.fill_at_once(job):
                head, use = _open(filling, version)
                rendered = await self._render_elsewhere(mould.account_id, version, use)
                filling.made = self._compose(filling, head, rendered, job.deliverable.adds)
                job.head, job.body, job.cut = filling.made

    async def _render_elsewhere(self, account_id: int, version: Version, use: TemplateUse) -> Rendered:
        takes = self._takes.get(account_id, _FIRST_GUESS_SECONDS)
        line_seconds = self._waiting[account_id] * takes
        if line_seconds > _LONGEST_LINE_SECONDS:
            raise NotNow("other mail of this account is being rendered, and its templates are slow", line_seconds + 1)
        self._waiting[account_id] += 1
        place = self._waiting[account_id]
        began = time.monotonic()
        try:
            return await self._templates.render_version(account_id, version, use)
        except TemplateInterrupted as error:
            raise NotNow(f"rendering was ended: {error.message}", _INTERRUPTED_SECONDS) from error
        except (Throttled, Unavailable) as error:
            raise NotNow("templates cannot be rendered right now", _POOL_SECONDS) from error
        finally:
            took = (time.monotonic() - began) / place  # one at a time: those before it in the line took as long
            self._takes[account_id] = (3 * self._takes.get(account_id, took) + took) / 4
            self._waiting[account_id] -= 1
            if not self._waiting[account_id]:
                del self._waiting[account_id]

    def _compose(self, filling: Filling, head: bytes, rendered: Rendered, adds: int) -> tuple[bytes, bytes, CutBody | None]:
        try:
            content = compose_body(
                rendered.html,
                rendered.text,
                filling.mould.read_files(),
                boundary_seed=filling.message_id.bytes,
                link_spans=bool(adds & (OPENS | CLICKS)),
            )
        except ValueError as error:
            raise InvalidMessage(str(error)) from error
        head += content.head
        size = len(head) + len(content.body)
        if size > self._most_bytes:
            raise InvalidMessage(f"The message has {size} bytes as MIME; at most {self._most_bytes} are allowed.")
        if not content.links and content.pixel is None:
            return head, content.body, None
        plan = plan_composed(content.body, content.links, content.pixel, own=self._own_urls)
        return head, content.body, cut_body(content.body, plan) if plan.slots else None


def _open(filling: Filling, version: Version) -> tuple[bytes, TemplateUse]:
    """The header block, and the use of the version as the submission had it."""
    head, variables = filling.mould.unpack(filling.stored)
    use = TemplateUse(str(version.template_id), version.number, orjson.loads(variables), filling.mould.locale, len(variables))
    return head, use
