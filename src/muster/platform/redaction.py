"""What must not be read in a log or leave for elsewhere: secrets by the name of their field, by their
form, and by heart.

Every form of token this portal handles has its line in `_FORMS`; what has no form of its own, such as a
client's secret, is known from the settings and found to the letter.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote, urlsplit

HIDDEN = "[hidden]"

_SHORTEST = 8
"""Letters of a secret that is looked for to the letter; a shorter one would blot out common words."""

_BLOB_LENGTH = 43

_OFTEN = 64
"""Letters of a text that may be met again."""

_LONGEST = 16_384
"""Letters of a text that are kept."""

_HOLDERS = (
    r"pass(?:word|wd|phrase)|secret|token|cookies?|authori[sz]ation|api[_-]?key|private[_-]?key|session[_-]?id"
    r"|csrf|credentials?|verifier|assertion|dsn"
)
_SECRET_NAME = re.compile(rf"(?:{_HOLDERS})$", re.IGNORECASE)
"""The end of a field's name says what it holds: `client_secret`, `refreshToken`, but not `token_name`."""


_START = r"(?:(?<![\w-])|(?<=\\[nrt]))"
"""Where a word begins, also in a text that was quoted, whose ends of lines are letters."""


@dataclass(frozen=True, slots=True)
class _Form:
    """One form of secret. What holds one holds one of `hints`, which are looked for first: it is fast."""

    hints: tuple[str, ...]
    pattern: re.Pattern[str]
    instead: str = HIDDEN


def _form(*hints: str, pattern: str, instead: str = HIDDEN, flags: re.RegexFlag = re.NOFLAG) -> _Form:
    return _Form(hints, re.compile(pattern, re.ASCII | flags), instead)


_FORMS = (
    _form(
        "private key-----",
        pattern=r"-----BEGIN ([A-Z ]*)PRIVATE KEY-----.*?(?:-----END \1PRIVATE KEY-----|\Z)",
        flags=re.DOTALL,
    ),
    _form("://", pattern=r"(?<=://)[^\s/?#@'\"]+@", instead=f"{HIDDEN}@"),
    _form(
        "cookie",
        pattern=r"((?:set-)?cookie['\"]?\s*[:,=]\s*b?)(?:'[^'\n]*'?|\"[^\"\n]*\"?|[^\n'\"]+)",
        instead=rf"\1{HIDDEN}",
        flags=re.IGNORECASE,
    ),
    _form(
        "bearer",
        "basic",
        pattern=_START + r"(bearer|basic)\s+[\w.~+/=-]{8,}",
        instead=rf"\1 {HIDDEN}",
        flags=re.IGNORECASE,
    ),
    _form("eyj", pattern=_START + r"eyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)*"),
    _form("muster_", pattern=_START + r"muster_[\w-]{43}"),  # as access/tokens.py makes them
    _form("ya29.", pattern=_START + r"ya29\.[\w.-]{8,}"),
    _form("1//", pattern=_START + r"1//[\w-]{16,}"),
    _form("4/", pattern=_START + r"(?<!/)4/[\w-]{20,}"),
    _form("gocspx-", pattern=_START + r"GOCSPX-[\w-]{8,}"),
    _form("pat-", pattern=_START + r"pat-[a-z]{2,4}\d-[\w-]{8,}"),
    _form("napi_", pattern=_START + r"napi_\w{16,}"),
    _form(
        "hooks.slack.com",
        "chat.googleapis.com",
        pattern=r"((?:hooks\.slack\.com|chat\.googleapis\.com)/)[^\s'\"]+",
        instead=rf"\1{HIDDEN}",
    ),
    _form(
        "code=",
        "state=",
        "key=",
        "sig=",
        "token=",
        pattern=r"([?&](?:code|state|key|sig|nonce|\w*token)=)[^&\s'\"]+",
        instead=rf"\1{HIDDEN}",
    ),
    # A name and its value: after an equals sign or in quotes anything, after a mere colon what holds a digit,
    # since "the secret: invalid_client" is said of one and is none.
    _form(
        *("passw", "passphrase", "secret", "token", "authori", "apikey", "api_key", "api-key", "private"),
        *("session", "csrf", "credential", "verifier", "assertion"),
        pattern=rf"((?:{_HOLDERS})['\"]?\s*(?:=\s*b?['\"]?|:\s*b?['\"]|:\s*(?=[^\s'\"]{{0,200}}\d)))(?!\[hidden|bearer |basic )[^\s'\"&,;<>)\]}}]{{4,}}",  # noqa: E501
        instead=rf"\1{HIDDEN}",
        flags=re.IGNORECASE,
    ),
)

_BLOB = re.compile(rf"{_START}(?=[\w-]*[a-z])(?=[\w-]*[A-Z])[\w-]{{{_BLOB_LENGTH}}}(?![\w-])", re.ASCII)
"""256 random bits as `secrets.token_urlsafe(32)` writes them: sessions, sign-ins under way, push channels."""

_EMAIL = re.compile(r"(?<![\w.+'-])[\w.+'-]+@(?:[\w-]+\.)+[a-z]{2,}\b", re.IGNORECASE)

_UNSEEN = {number: rf"\x{number:02x}" for number in (*range(32), *range(127, 160))} | {
    number: rf"\u{number:04x}" for number in (0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
"""What moves a terminal's cursor, breaks a line, or turns a text around is spelled out."""

_UNSEEN_OF_LINES = {number: told for number, told in _UNSEEN.items() if chr(number) not in "\n\t"}


class Redaction:
    """Knows `secrets` by heart besides; with `emails`, addresses of people go, too."""

    def __init__(self, secrets: Iterable[str] = (), *, emails: bool = False) -> None:
        self._known = sorted(_spellings(secrets), key=len, reverse=True)
        self._emails = emails
        # Names of events and routes, and most paths, come again and again.
        self._looked_through = lru_cache(maxsize=1024)(self._look_through)

    def text(self, text: str) -> str:
        if len(text) < _SHORTEST:
            return text
        return self._looked_through(text) if len(text) <= _OFTEN else self._look_through(text)

    def _look_through(self, text: str) -> str:
        for known in self._known:
            if known in text:
                text = text.replace(known, HIDDEN)
        if len(text) < _BLOB_LENGTH and text.isalnum():  # as an id of ours; no form is made of these alone
            return text
        folded = text.lower()
        for form in _FORMS:
            for hint in form.hints:
                if hint in folded:
                    text = form.pattern.sub(form.instead, text)
                    break
        if len(text) >= _BLOB_LENGTH:
            text = _BLOB.sub(HIDDEN, text)
        return _EMAIL.sub("[e-mail]", text) if self._emails and "@" in text else text

    def value(self, value: Any, *, name: str = "", lines: bool = False) -> Any:
        """Whatever a field may hold, made harmless; `lines` keeps the ends of lines."""
        if value is None or isinstance(value, int | float):
            return value
        if name and _is_secret(name):
            return HIDDEN
        match value:
            case str():
                return printable(_cut(self.text(value)), lines=lines)
            case Mapping():
                return {
                    printable(self.text(str(key))): self.value(one, name=str(key), lines=lines)
                    for key, one in value.items()
                }
            case list() | tuple() | set() | frozenset():
                return [self.value(one, lines=lines) for one in value]
            case _:
                return printable(_cut(self.text(str(value))), lines=lines)


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_NAME.search(name) is not None


def _cut(text: str) -> str:
    """Its beginning; whoever logs a whole page of somebody's cannot fill the disk with it."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… and {len(text) - _LONGEST:,} letters more"


def printable(text: str, *, lines: bool = False) -> str:
    """Without a character that a terminal would act on."""
    if text.isprintable():
        return text
    return text.translate(_UNSEEN_OF_LINES if lines else _UNSEEN)


def _spellings(secrets: Iterable[str]) -> set[str]:
    """Each secret as it may be met: an address by its password, a key file line by line."""
    found: set[str] = set()
    for secret in secrets:
        if "://" in secret:
            password = urlsplit(secret).password or ""
            found |= {password, unquote(password)}
        elif "PRIVATE KEY" in secret:
            found |= set(re.findall(r"[\w+/=]{40,}", secret))
        else:
            found.add(secret)
    return {one for one in found if len(one) >= _SHORTEST}
