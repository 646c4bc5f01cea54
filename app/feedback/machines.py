"""Whether a person or a machine opened or followed a link, by what its request says of itself. Pure.

Programs look at mail before, after and instead of people: scanners follow every link, privacy proxies load every picture when a mail
arrives. An image proxy that loads a picture when its reader opens the mail (Gmail's, Yahoo's) stands for that person.
What times and networks tell is not looked at here.
"""

from __future__ import annotations

import re

# Programs that say what they are: fetchers, previews, security scanners.
_MACHINES = re.compile(
    r"bot\b|bots\b|crawl|spider|slurp|preview|scan|prefetch|monitor|validator|facebookexternalhit|headless|phantomjs|"
    r"barracuda|mimecast|proofpoint|safelinks|forcepoint|fireeye|trendmicro|symantec|messagelabs|sophos|zscaler|urldefense|cloudmark|"
    r"curl/|wget/|python|java/|go-http-client|libwww|okhttp|axios|node-fetch|httpclient|apache-http|ruby|perl",
    re.IGNORECASE,
)
# Proxies of people: the picture is loaded when its reader looks at the mail.
_PROXIES_OF_PEOPLE = re.compile(r"GoogleImageProxy|YahooMailProxy|Outlook-iOS|Outlook-Android|Microsoft Outlook|ms-office", re.IGNORECASE)
# Apple's Mail Privacy Protection loads all pictures of all mails, and says this and no more.
_APPLE_PRIVACY = re.compile(r"Mozilla/5\.0")


def why_a_machine(method: str, agent: str, purpose: str = "") -> str | None:
    """Why this is taken for a machine, in a word or two; None for a person. `purpose`: Sec-Purpose, Purpose or X-Moz."""
    if method != "GET":
        return "method"
    if "prefetch" in purpose.lower() or "preview" in purpose.lower():
        return "prefetch"
    if not agent.strip():
        return "no agent"
    if _APPLE_PRIVACY.fullmatch(agent.strip()) is not None:
        return "privacy proxy"
    if _PROXIES_OF_PEOPLE.search(agent) is not None:
        return None
    return "agent" if _MACHINES.search(agent) is not None else None
