"""The inbox over HTTP for programs.

GET    /api/messages                       newest first; ?limit= (50, at most 500), ?to= (exactly this recipient), ?before= (an id)
GET    /api/messages/{id}                  headers, text, HTML, attachments, DKIM signatures
GET    /api/messages/{id}/raw              the exact bytes received
GET    /api/messages/{id}/attachments/{n}  one attachment, always as a download
DELETE /api/messages                       empties the inbox
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.inbox.keep import Kept
from app.inbox.shelf import number_asked, shelf_of
from app.inbox.verdict import Verdict, verdict_of
from app.mail.dkim_verify import Signature


async def list_messages(request: Request) -> Response:
    shelf = shelf_of(request)
    limit = number_asked(request, "limit", default=50, most=500)
    query = request.query_params
    messages = shelf.keep.newest(limit, to=query.get("to"), before=query.get("before"))
    return JSONResponse({"messages": [summary_of(kept, verdict) for kept, verdict in await shelf.with_verdicts(messages)]})


async def get_message(request: Request) -> Response:
    shelf = shelf_of(request)
    kept = shelf.find(request)
    content = await shelf.open(kept)
    signatures = await shelf.signatures(kept)
    return JSONResponse(
        summary_of(kept, verdict_of(signatures))
        | {
            "peer": kept.peer,
            "headers": [{"name": name, "value": value} for name, value in content.headers],
            "text": content.text,
            "html": content.html,
            "attachments": [
                {
                    "filename": attachment.filename,
                    "content_type": attachment.content_type,
                    "content_id": attachment.content_id or None,
                    "size_bytes": len(attachment.content),
                    "url": f"/api/messages/{kept.id}/attachments/{attachment.number}",
                }
                for attachment in content.attachments
            ],
            "dkim_signatures": [_signature_shown(signature) for signature in signatures],
            "problem": content.problem,
        }
    )


async def get_raw(request: Request) -> Response:
    shelf = shelf_of(request)
    kept = shelf.find(request)
    return download(shelf.raw(kept), filename=f"{kept.id}.eml", content_type="message/rfc822")


async def get_attachment(request: Request) -> Response:
    attachment = await shelf_of(request).attachment(request)
    # Never the type the sender claims: HTML or SVG of his would run as a page of ours.
    return download(attachment.content, filename=attachment.filename, content_type="application/octet-stream")


async def delete_messages(request: Request) -> Response:
    return JSONResponse({"deleted": shelf_of(request).keep.clear()})


def summary_of(kept: Kept, verdict: Verdict) -> dict[str, Any]:
    return {
        "id": kept.id,
        "received_at": kept.received_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "from": kept.sender,
        "to": list(kept.rcpt_to),
        "mail_from": kept.mail_from,
        "subject": kept.subject,
        "message_id": kept.message_id,
        "size_bytes": kept.size_bytes,
        "dkim": verdict.value,
    }


def download(content: bytes, *, filename: str, content_type: str) -> Response:
    # RFC 6266 §4.3, RFC 8187: percent-encoded, so that no character of the name can end the header or its quotes.
    disposition = f"attachment; filename*=UTF-8''{quote(filename, safe='')}"
    return Response(content, headers={"Content-Type": content_type, "Content-Disposition": disposition})


def _signature_shown(signature: Signature) -> dict[str, Any]:
    return {
        "result": "pass" if signature.passed else "fail",
        "domain": signature.domain,
        "selector": signature.selector,
        "algorithm": signature.algorithm,
        "reason": signature.reason or None,
    }


ROUTES = [
    Route("/api/messages", list_messages, methods=["GET"]),
    Route("/api/messages", delete_messages, methods=["DELETE"]),
    Route("/api/messages/{message_id}", get_message, methods=["GET"]),
    Route("/api/messages/{message_id}/raw", get_raw, methods=["GET"]),
    Route("/api/messages/{message_id}/attachments/{number:int}", get_attachment, methods=["GET"]),
]
