"""The words in which hosts refuse mail, by what they mean; `reply` asks them in this order and takes the first that fits.

Every pattern is a general turn of phrase, in lower case, met at more than one kind of host. Between two words of a phrase
at most a few others may stand, so that no pattern takes long on any text.
"""

from __future__ import annotations

import re
from typing import Final

from app.mail.reply_tongues import TONGUE_WORDS, TONGUES_ALIVE

# Addresses and links name things that are not meant, advice says what may be the matter in general, and relays say around a reply where it
# came from and what it answered: "host … said", "after RCPT TO" are no unknown host and no recipient.
_FRAME = (
    r"\b(?:after|following|for|to|our|>>>) (?:the )?(?:end of )?(?:rcpt|mail|data|text|[eh]+lo)\b(?: to\b| from\b)?:?(?: command)?"
    r"|does not like recipient|smtp error from remote (?:mail )?server"
    r"|\b(?:remote )?(?:host|server)(?: [^\s\[]+)?(?: ?\[[^\]\n]{0,60}\])? ?(?:said|replied|responded|returned)\b:?"
    r"|\bhost [^\s\[]+ ?\[[^\]\n]{0,60}\]:"
)
_LISTS = r"spamhaus|spamcop|barracuda\w*|sorbs|uribl|surbl|abuseat"
NOISE: Final = re.compile(
    r"(?:for more information|to view our|to learn|learn more|for instructions|to request removal)\b[^.]*|i'm not going to try again.*"
    rf"|{_FRAME}"
    r"|<[^<>\s]{0,300}@[^<>\s]{0,300}>|(?<!\S)\S{1,300}@\S{1,300}|https?://\S{0,300}?[?&]p=(\w{1,40})\S*"
    rf"|https?://\S{{0,300}}?({_LISTS})\S*|https?://\S+|\[[\d.:a-f]{{1,60}}\]"
)
# A paragraph of which no word is about this mail.
BOILERPLATE: Final = re.compile(
    r"confidential|not (?:the |an? )?intended (?:recipient|addressee)|privileged|disclaimer|liab(?:le|ility)"
    r"|vertraulich|confidentiel|riservat|confidencial"
    r"|vertrouwelijk|poufn|конфиденц|scanned (?:for|by)|virus[- ]?(?:free|checked|scan)"
)
# What relays write of the moment at which they were refused, when that was before any recipient was named.
BEFORE_RCPT: Final = re.compile(
    r"in reply to (?:mail from|[eh]+lo|starttls)|after (?:mail from|ehlo|helo|initial connection|connect)|refused to talk to me"
    r"|did not like our (?:mail|helo|ehlo)|my name was rejected"
)

# At which moment a host refused, as relays write it.
AT_RCPT: Final = re.compile(
    r"(?:reply to|after|following|our|progress was|>>>|\[)\s?(?:the )?rcpt(?=[ _])|does not like recipient|rejected (?:the )?recipient <",
    re.IGNORECASE,
)
AFTER_RCPT: Final = re.compile(
    r"(?:in reply to|after|following|smtp command) (?:the )?(?:end of )?data\b|end of data"
    r"|failed after i sent|>>> data|final data|text command",
    re.IGNORECASE,
)

# Words that what a reply says holds for the moment.
PASSING: Final = re.compile(r"temporar|try (?:it )?(?:again )?later|try again\b|for now\b|at (?:this|the) (?:time|moment)|in progress")

_NOT = r"(?:not|n't|n’t)"
_WHO = (
    r"(?:users?|usernames?|recipients?(?: address(?:es)?)?|mailbox(?:es)?|mbox|e?-?mail (?:address|account|box|id)|accounts?|address(?:ee)?"
    r"|receivers?(?: address)?|alias|inbox|rcpt(?: to)?|local part|person|customer)"
)
_FEW = r"\W{1,9}(?:[^\s\d]\S{0,40}\s{1,4}){0,5}?"
_REFUSED = r"(?:rejected|refused|blocked|denied|banned|forbidden|not (?:be )?(?:accepted|allowed|permitted|authori[sz]ed))"
_FAULTY = (
    r"(?:reject|denied|refus|no such|invalid|not (?:a )?valid|not exist|n't exist|not found|unknown|block|banned|verif|not allowed"
    r"|not authori[sz]ed|unauthenticated)"
)
_MISSING = (
    rf"(?:un-?known|not? found|{_NOT} (?:be )?(?:a )?(?:found|known|exist|valid|listed|recogni[sz]ed|local|registered|here|present|located)"
    rf"|non-?existent|does ?(?:{_NOT}|no) (?:exist|have(?! (?:enough|sufficient|room|space)))|has no"
    r"|undeliverable|no longer|has (?:moved|left|changed)"
    r"|invalid|illegal|incorrect|wrong|unrout|un(?:allocated|assigned|registered|recogni[sz]ed|identified))"
)
_NO_SUCH = (
    rf"(?:un-?known|no such|no valid|{_NOT} a (?:valid|known|local)|invalid|illegal|bad|non-?existent|unable to (?:find|verify|locate)"
    r"|could not (?:find|verify)|cannot find|can't find|n't (?:have|find) (?:an?|the|this|that|any))"
)
_SHUT = (
    r"(?:disabled|deactivated|inactive|suspended|locked|blocked|(?<!connection )closed|frozen|expired|discontinued|dormant"
    rf"|inactivity|terminated|cancelled|{_NOT} (?:been )?activ(?:e|ated))"
)
_FULL = r"(?:full|over ?quota|exceed(?:s|ed)?|over (?:the |its |his )?(?:limit|allocation|size))"
# Of these the sender is spoken of: whatever is unknown, locked or full then is his.
_SENDER = (
    r"(?:\bs(?:ender|ending|ource)\b|mail ?from\b|envelope[- ]from|return[ -]path|originator|\bfrom (?:address|user|domain|header)"
    r"|\byour (?:address|account|domain|mailbox))"
)

# The host's own disk and programs: whatever else they say comes from there.
_SYSTEM = (
    (
        r"(?:could ?n[o'’]t|cannot|can['’]t|unable to|error|failed) (?:creat|open|writ|lock|append|access)\w* "
        r"(?:\w+ )?(?:\S*/|file|spool|lock|output|mailbox file)"
    ),
    r"permission denied|no space left|disk (?:is )?full|i/o error|read-only file|mail system (?:storage )?(?:is )?full|out of memory",
)
# The sender is in a hurry, or the mail is in a circle: about neither address, and often said in the words of policy.
_HURRY = (
    r"receiving (?:mail|messages) (?:too quickly|at a rate)|received too (?:much|many)|slow(?:ing)? down",
    r"gr[ae]y-?\s?list",
    (
        r"too many (?:connections|recipients|sessions|concurrent|(?:messages|mails)(?! (?:on|in) (?:the |this |your "
        r"|his )?(?:server|mail|account)))"
    ),
    (
        r"(?:connection|session|message|thread|mail) (?:rate|frequency|limit)|(?:daily|hourly|sending|relay|rate) limit(?!ed)"
        r"|limit for the number of"
        r"|number of (?:\w+ )?messages\b.{0,40} per (?:hour|day|minute)|concurrent connections|messages? per connection"
    ),
    r"excessive volume|quota for sending|(?:sending|queue) quota",
    r"not found, try again|(?:name service|dns|lookup)\b.{0,40}\b(?:try again|temporar|timed? ?out|servfail)",
    r"message expired|connection refused\W{0,9}$|mail loop|too many hops|hop count|exceeded \d+ hops|routing loop|loops back to",
    (
        r"temporary (?:\w+ ){0,3}?(?:lookup|dns|failure|error|problem)|verification in progress"
        r"|undeliverable address: .{0,120}(?:timed out|refused|unreachable|no route|lost connection|try again)"
    ),
)
_POLICY = (
    # the sender
    rf"{_SENDER}.{{0,40}}{_FAULTY}",
    r"(?:domain of|valid|unknown|bad|blocked|unresolvable|no such|known|authori[sz]ed|allowed) sender|from: domain|valid from\b|purported",
    r"(?:unknown|invalid|no such|not found|not exist)\W{1,9}(?:\w+\W{1,9}){0,4}?senders?\b",
    r"\b(?:start)?tls\b.{0,30}(?:requir|not offered|mandatory|must)|(?:requir\w+|must) .{0,20}\b(?:start)?tls\b",
    r"password|credential|log(?:ged)?[ -]?in\b|rcpthosts",
    r"\bspf\b|\bdkim\b|\bdmarc\b|\barc\b|unauthenticated|not authenticated|authenticat(?:ion (?!required)|e)|auth failure",
    # his host
    r"reverse[ -]?(?:dns|lookup|mapping)|\brdns\b|\bptr\b|\bhelo\b|\behlo\b|fqdn|does not resolve|unverif[iy]able",
    r"\brbl\b|\buribl|\bdnsbl\b|spamhaus|barracuda|spamcop|sorbs",
    r"black ?list|block ?list|white ?list|allow ?list|(?<!not )listed (?:in|at|on|by)",
    r"blocked|\bbl\d+\b|\bbanned\b|reputation|complaint|\babus",
    rf"(?:ip|host|server|network|connection)s? (?:address )?(?:is |was |are |has been |you.re using |will )?{_REFUSED}",
    r"client host|not accepting connections|access (?:is )?forbidden|server access|(?<!recipient address rejected: )access denied",
    r"invalid ip\b|(?:your|sending|this|the|from) ip\b|ip (?:address )?(?:black|block|list|not)",
    r"messages? from\b.{0,60}\b(?:weren.t|not|temporarily)|unusual rate|rate limited because|poor|prison|go away",
    r"rela(?:y|ying) (?:access |is |was |not |mail )?(?:denied|prohibited|allowed|permitted)|mail relay|not a relay|open relay",
    r"not (?:configured|permitted|allowed|able) to relay|unable to relay|as a relay|relay(?:ing)? (?:operation|attempt|not|is)\b",
    # his message
    r"\bspam|\bube\b|\buce\b|\bvirus|malware|phish|unsolicited|\bjunk\b|bulk mail|suspicious",
    rf"(?:message|mail) (?:was |has been )?(?:{_REFUSED}|filtered)(?!\. not enough)|attachment(?!.{{0,20}} too )|header|compliant|content",
    r"n['’]t want (?:your|this|any)|not want (?:your|this|any)|unwanted|spoof|macro|forbidden|by (?:\w+ ){0,3}(?:filter|rule)s?\b|\bfilter",
    r"recipient.{0,3} preferences|policy|policies|security|prohibited|(?<!name )not allowed|not authori[sz]ed|unauthori[sz]ed",
    r"(?<!quota )violat|refused to talk to me: \d+ (?:\S+ ){0,3}?service (?:not |un)available",
)
# Of a mailbox that is there, said so clearly that it goes before the words of policy that may stand around it.
_HIS = r"(?<!your )(?<!sender )(?<!sender's )\b(?:user|recipient|mail ?box|mbox|account|inbox|addressee)s?\b"
_SURELY_FULL = (
    r"mailbox size limit exceeded|mail ?box (?:has )?exceed|(?:not enough|insufficient) (?:storage )?space in user",
    (
        rf"{_HIS}(?:\W{{1,9}}\S{{1,40}})?\W{{1,9}}(?:is |has |are )?(?:over ?quota|over (?:the |its |his |her "
        rf"|their )?(?:\w+ )?quota|full\b|out of (?:storage|space))"
    ),
    r"not have (?:enough|sufficient) (?:disk |storage )?(?:space|room)",
    rf"(?:{_HIS}\W{{1,9}}(?:\w+ )?|disk |storage )quota (?:is |has been |was )?exceed",
)
_SURELY_SHUT = (
    (
        rf"{_HIS}(?:\W{{1,9}}\S{{1,40}})?\W{{1,9}}(?:is |has been |was |are )?(?:\w+ )?(?:disabled|deactivated|inactive"
        rf"|suspended|locked|frozen|discontinued|dormant)\b"
    ),
    r"\b(?:disabled|inactive|suspended|deactivated|locked) (?:mail ?)?(?:user|recipient|m?box|mailbox|account)|extended inactivity",
)
_SURELY_NO_DOMAIN = (
    r"(?:illegal|invalid|unknown|no such|non-?existent) (?:mail |destination |recipient )?(?:host|domain)\b|unrout\w*able mail domain",
    (
        rf"\b(?:host|domain)(?: name)?\W{{1,9}}(?:\S+\s)?(?:is |was |does |has |can |could )?(?:un-?known|(?:{_NOT}"
        rf"|no) ?(?:be )?(?:found|exist|resolved))"
    ),
    r"domain has no (?:mail|mx)|\bno (?:mx|mail server)s?\b.{0,30}\bdomain",
)
_TOO_LARGE = (
    r"(?:message|mail|e-?mail|size|data)\b.{0,40}(?:too (?:big|large|long)|exceed\w*|over)\b.{0,40}(?:size|limit|maximum|system|bytes|$)",
    (
        r"(?:size|limit) (?:is )?(?:exceeded|too (?:big|large))|too (?:big|large)|(?:attachment|message|mail) (?:is )?too long"
        r"|maximum (?:message |mail )?size|message size"
    ),
    r"exceeds? (?:the )?(?:maximum|fixed|allowed|size|administrative)|(?:larger|bigger) than|attachment\w* exceed",
)
_MAILBOX_FULL = (
    rf"(?:mail ?box|inbox|mail ?folder|mail ?drop|user|account|quota|storage|disk)\b.{{0,30}}\b{_FULL}\b",
    r"mailbox size limit|(?:exhausted|exceed\w*) (?:\w+ ){0,3}?storage|storage (?:space )?in (?:the )?(?:user|recipient)\S* mailbox",
    (
        r"over (?:the |its |his |her |their )?(?:\w+ )?quota|too many (?:messages|mails) (?:on|in) |exceed\w* (?:\S+ )?(?:disk "
        r"|storage )?space"
    ),
    (
        r"over[ -]?quota|quota (?:is |has been )?(?:full|exceeded|violat|used up|reached|exhausted)|exceed\w* .{0,30}(?:quota"
        r"|storage|allocation)|out of (?:storage|space|quota)"
    ),
    r"(?:not enough|insufficient|no) (?:mailbox |user |disk )?(?:storage|space) (?:available |left )?(?:for|in|on) (?:user|mail|recip|th)",
)
_MAILBOX_DISABLED = (
    rf"{_WHO}\b.{{0,60}}\b{_SHUT}\b",
    (
        rf"@\W{{1,9}}(?:is |has been |was )?(?:now )?{_SHUT}|\b{_SHUT} (?:mail ?)?(?:\w+ )?{_WHO}|disableduser"
        rf"|no longer (?:valid|active|in use|available|accepting|accepts)"
    ),
)
_INVALID_MAILBOX = (
    rf"{_WHO}{_FEW}(?:is |was |are )?{_MISSING}|@\W{{1,9}}(?:is |was )?{_MISSING}",
    rf"{_NO_SUCH} (?:or illegal |local |virtual |destination |email |e-mail )*{_WHO}",
    r"no mailbox|no such (?:person|name|id)\b|(?:recip\w*|user|mailbox|address)\.?not\.?found|nosuchuser|unknown(?:user|recipient)",
    r"does(?:n't| not) have an? \S* ?(?:account|mailbox)|no account by that name|no longer (?:on server|with|works|employed|here)",
    r"recipient address rejected: (?:access denied|undeliverable|user)|address rejected(?!:)|unrout\w*able address|unroutable",
    r"check (?:if|that|whether) (?:the |this )?(?:\w+ )?address is (?:correct|valid|right)",
    r"mailbox (?:is )?(?:currently )?unavailable|unavailable (?:mail ?)?(?:user|box)|mailbox name not allowed|bad destination mailbox",
    (
        rf"{_NOT} (?:in|on|at|to|of) (?:(?:our|the|my|this|any|local|virtual|address|mail|domino) ){{0,3}}"
        r"(?:recipients?|users?|directory|database|server|system|host)\b(?! of)(?: (?:list|table|map|directory))?"
    ),
    (
        rf"{_NOT} (?:our|a) (?:customer|subscriber|member)|{_NOT} have an? {_WHO}|n[o']t? (?:\w+ ){{1,2}}?(?:by|of|with"
        rf"|under) (?:that|this) name"
    ),
    (
        rf"nobody (?:here )?(?:by|of|with) |{_WHO}\W{{1,9}}(?:\S{{1,40}}\s{{1,4}}){{0,2}}?(?:has been|was|been|is) (?:deleted"
        rf"|removed|purged|erased)"
    ),
)
_INVALID_DOMAIN = (
    (
        r"(?:host|domain)(?: name)?\W{1,9}(?:[^\s\d]\S{0,40}\s{1,4}){0,4}?(?:unknown|not found|not exist|n't exist|invalid"
        r"|not (?:\w+ )*be (?:found|resolved|registered))"
    ),
    r"(?:unknown|no such|invalid|non-?existent|bad|illegal) (?:mail |destination )?(?:host|domain|system)|nxdomain",
    r"domain is not reachable|mail exchanger|no mx\b|null ?mx|no (?:valid )?mx record|name or service not known|unrout\w*able mail domain",
    r"does not accept (?:any )?mail|accepts no mail|not accepting network messages|does not exist\W{0,9}$",
)
# Rules of the dialogue; late, because hosts add them to the true reason ("user unknown 503 bad sequence").
_DIALOGUE = (
    r"(?:bad|improper|invalid|out of|wrong) (?:command )?sequence|sequence of commands|command (?:parameter )?not implemented",
    r"syntax error|protocol (?:error|violation)|rfc ?\d{3,4}|authentication required",
)
_TRANSIENT = (
    r"deliver for the last \d|failing for a long time|retry time(?:out)? (?:not reached|exceeded)",
    r"(?:for|in) \d+ (?:hour|day|minute)s?\b|loops? back to|lost connection|configuration error",
    r"timed? ?out|timeout|try (?:again|later|re)|later\b|temporar|throttl|deferr|delayed|expired|queue too long",
    r"overload|too (?:busy|fast|quickly|much)|\bbusy\b|rate limit|limit exceeded|insufficient|disk space|resources",
    r"connect(?:ion)? (?:was )?(?:refused|reset|closed|lost|dropped|limit|expired|failed|to)|network|no route|not reachable|unreachable",
    r"(?:unable|able|failed|could not|couldn't|requests) to (?:connect|establish)",
    r"transaction failed\W{0,9}$|system (?:error|busy|failure|load)|internal error|local error",
    r"service (?:is )?(?:currently )?(?:not available|unavailable|refuse)",
)

_ENGLISH_WORDS: Final = (
    ("transient", _SYSTEM),
    ("transient", _HURRY),
    ("mailbox_full", _SURELY_FULL),
    ("mailbox_disabled", _SURELY_SHUT),
    ("policy", _POLICY),
    ("too_large", _TOO_LARGE),
    ("mailbox_full", _MAILBOX_FULL),
    ("mailbox_disabled", _MAILBOX_DISABLED),
    ("invalid_domain", _SURELY_NO_DOMAIN),
    ("invalid_mailbox", _INVALID_MAILBOX),
    ("invalid_domain", _INVALID_DOMAIN),
)
# English last of all where it is least particular: what another language says clearly goes before "later".
_LATE_WORDS: Final = (("policy", _DIALOGUE), ("transient", _TRANSIENT))


def _in_order(table: tuple[tuple[str, tuple[str, ...]], ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((kind, re.compile("|".join(words))) for kind, words in table)


ORDERED_WORDS: Final = (*_in_order(_ENGLISH_WORDS), *TONGUE_WORDS, *_in_order(_LATE_WORDS))

# Words that an address is known where they stand beside others that it is not.
ALIVE: Final = (*(re.compile("|".join(words)) for words in (_MAILBOX_FULL, _MAILBOX_DISABLED)), *TONGUES_ALIVE)
