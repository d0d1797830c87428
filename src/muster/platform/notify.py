"""The one door to apprise: mail, Slack, Google Chat, PagerDuty, webhooks, each by one address.

apprise is imported when the first message is sent: it takes 45 MB, and most processes send none. Its
addresses hold secrets wherever they please, so nothing of one is shown but its kind and, for kinds that
keep no secret there, its host.
"""

import asyncio
import hashlib
import hmac
import logging
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from typing_extensions import override

from muster.errors import MusterError, SettingsError

if TYPE_CHECKING:
    import apprise

DEADLINE = 30.0
"""Seconds for one message; apprise's own time-outs are 4 s to connect and 4 s to read, 15 s for mail."""

_HOST_IS_NO_SECRET = frozenset({"json", "jsons", "xml", "xmls", "form", "forms", "mailto", "mailtos"})
_TAKES_HEADERS = _HOST_IS_NO_SECRET
_SHORTEST_SECRET = 4
_WORDS = re.compile(r"[^/?&=@:,;#\s]+")


class Tone(StrEnum):
    """How a message looks and sounds where a channel has such a thing; the words are apprise's."""

    FAILURE = "failure"
    WARNING = "warning"
    SUCCESS = "success"
    INFO = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class Letter:
    """`key` is the same whenever this very message is sent again, `thread` for all about one thing."""

    title: str
    body: str
    tone: Tone
    key: str
    thread: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """`id` stays the same while its address does, `name` is how it is shown."""

    id: str
    name: str


class NotDelivered(MusterError):
    """A channel did not take a message; the words hold nothing of its address that is secret."""

    code = "not_delivered"


class Channels:
    def __init__(self, urls: Sequence[str], *, key: str) -> None:
        """`key` is what the ids of channels are made with, so that they tell nothing of the addresses."""
        self._urls = {_digest(url, key): url for url in urls}
        names = _names(list(self._urls.values()))
        self.all = tuple(Channel(id=one, name=names[url]) for one, url in self._urls.items())

    def __bool__(self) -> bool:
        return bool(self._urls)

    def check(self) -> None:
        """Raises SettingsError for the first address that apprise does not understand."""
        for number, (channel, url) in enumerate(zip(self.all, self._urls.values(), strict=True), 1):
            with _listening() as heard:
                if _service(url) is None:
                    why = _scrubbed("; ".join(heard), url)
                    raise SettingsError(
                        f"ALERT_URLS holds an address, number {number} ({channel.name}), that apprise does "
                        f"not understand{f': {why}' if why else ''}"
                    )

    async def send(self, channel: Channel, letter: Letter) -> None:
        """Raises NotDelivered. One that hangs is given up; its thread ends by apprise's own time-outs."""
        url = self._urls[channel.id]
        try:
            async with asyncio.timeout(DEADLINE):
                why = await asyncio.to_thread(_send, url, letter)
        except TimeoutError:
            why = f"no answer within {DEADLINE:.0f} s"
        if why:
            raise NotDelivered(_scrubbed(why, url))


def _send(url: str, letter: Letter) -> str:
    """Why it was not taken, "" if it was."""
    with _listening() as heard:
        try:
            service = _service(_addressed(url, letter))
            if service is None:
                return "; ".join(heard) or "apprise does not understand the address"
            taken = service.notify(title=letter.title, body=letter.body, notify_type=_kind(letter.tone))
        except Exception as error:  # noqa: BLE001  whatever a plugin breaks on, the message was not taken
            return f"apprise broke on it: {type(error).__name__}: {error}"
    return "" if taken else "; ".join(heard) or "it was not taken, and nothing was said why"


def _service(url: str) -> "apprise.NotifyBase | None":
    import apprise  # noqa: PLC0415  see above

    _keep_to_ourselves()
    asset = apprise.AppriseAsset(
        app_id="Muster", app_desc="Muster's alerts", secure_logging=True, http_redirects=False
    )
    made = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
    return made if isinstance(made, apprise.NotifyBase) else None


def _kind(tone: Tone) -> "apprise.NotifyType":
    import apprise  # noqa: PLC0415  see above

    return apprise.NotifyType(tone.value)


def _addressed(url: str, letter: Letter) -> str:
    """With what lets the other side tell a repetition, where it can: at worst a message is sent twice."""
    scheme = _scheme(url)
    extra = []
    if scheme in _TAKES_HEADERS:
        extra.append(f"+Idempotency-Key={letter.key}")
    if scheme == "pagerduty":
        extra += [f"dedup={letter.thread}", "action=map"]
    return f"{url}{'&' if '?' in url else '?'}{'&'.join(extra)}" if extra else url


def _scheme(url: str) -> str:
    return url.partition("://")[0].casefold()


def _digest(url: str, key: str) -> str:
    return hmac.new(key.encode(), url.encode(), hashlib.sha256).hexdigest()[:16]


def _names(urls: Sequence[str]) -> dict[str, str]:
    """Names that tell channels apart: those of one kind and host are numbered."""
    plain = {url: _plain_name(url) for url in urls}
    shared = {name for name in plain.values() if list(plain.values()).count(name) > 1}
    seen: dict[str, int] = {}
    named = {}
    for url, name in plain.items():
        seen[name] = seen.get(name, 0) + 1
        named[url] = f"{name} #{seen[name]}" if name in shared else name
    return named


def _plain_name(url: str) -> str:
    scheme = _scheme(url)
    if scheme not in _HOST_IS_NO_SECRET:
        return scheme
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return scheme
    return f"{scheme}://{parts.hostname or ''}{port}"


def _scrubbed(text: str, url: str) -> str:
    """`text` without any part of `url` but its kind and, where it keeps no secret, its host."""
    scheme, _, rest = url.partition("://")
    shown = {scheme.casefold(), "from", "mode", "smtp", "name", "user", "pass", "http", "https"}
    if scheme.casefold() in _HOST_IS_NO_SECRET:
        shown |= {part.casefold() for part in _WORDS.findall(rest.partition("/")[0].rpartition("@")[2])}
    words = {*_WORDS.findall(rest), *_WORDS.findall(unquote(rest))}
    for word in sorted(words, key=len, reverse=True):
        if len(word) >= _SHORTEST_SECRET and word.casefold() not in shown:
            text = text.replace(word, "***")
    return " ".join(text.split())[:300]


class _listening(logging.Handler):  # noqa: N801  used as a block, as contextlib names them
    """What apprise says of a failure, which it tells to its log alone; each thread hears its own."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._thread = threading.get_ident()
        self._heard: list[str] = []

    def __enter__(self) -> list[str]:
        logging.getLogger("apprise").addHandler(self)
        return self._heard

    def __exit__(self, *_: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        if threading.get_ident() == self._thread:
            self._heard.append(record.getMessage())


def _keep_to_ourselves() -> None:
    """What apprise says may hold an address; it is told by us, scrubbed."""
    log: Any = logging.getLogger("apprise")
    log.propagate = False
    if log.level != logging.WARNING:
        log.setLevel(logging.WARNING)
