"""What HubSpot says when it refuses, and what that means to whoever asked.

Nothing of an error's body is relied on: any field may be missing, or of another type than the last time.
"""

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec

from muster.errors import VendorDown, VendorRefused

VENDOR = "HubSpot"

_WORDS = {
    "MISSING_REQUIRED_PROPERTY": "must be filled in",
    "REQUIRED_FIELD": "must be filled in",
    "INVALID_OPTION": "is none of the choices HubSpot has",
    "INVALID_OWNER_ID": "is nobody who can own records in HubSpot, or not any more",
    "INVALID_LONG": "is not a number",
    "INVALID_INTEGER": "is not a whole number",
    "INVALID_NUMBER": "is not a number",
    "INVALID_DATE": "is not a date",
    "INVALID_EMAIL": "is not an e-mail address",
    "READ_ONLY_VALUE": "is set by HubSpot itself",
    "PROPERTY_VALUE_TOO_LONG": "is too long",
    "PROPERTY_DOESNT_EXIST": "does not exist in HubSpot",
}
"""HubSpot's word for what is wrong with a property → ours; for others its own message stands."""

_BASED_ON = re.compile(r"based on \[(\w+)\]")
_JSON_WITHIN = re.compile(r":?\s*\[\{.*", re.DOTALL)


class HubSpotRefused(VendorRefused):
    """Lasting. `fields` are properties by name, each with what is wrong with it."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        category: str = "",
        correlation_id: str = "",
        fields: dict[str, str] | None = None,
    ) -> None:
        super().__init__(VENDOR, _with_reference(message, correlation_id), reason=category)
        self.status = status
        self.category = category
        self.correlation_id = correlation_id
        self.fields = fields or {}

    @property
    def is_not_found(self) -> bool:
        """HubSpot's own word that there is none; a proxy's 404 says nothing about a record."""
        return self.status == 404 and self.category == "OBJECT_NOT_FOUND"


class HubSpotDown(VendorDown):
    """Passing; if it was a write, it was surely not carried out."""

    def __init__(self, message: str, *, reason: str = "", correlation_id: str = "") -> None:
        super().__init__(VENDOR, _with_reference(message, correlation_id), reason=reason)
        self.correlation_id = correlation_id


class OutcomeUnknown(HubSpotDown):
    """A write was sent and no answer came that says whether it was carried out: read before trying again."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The body of an error, as far as there is one."""

    status: int
    message: str = ""
    category: str = ""
    correlation_id: str = ""
    policy: str = ""
    fields: dict[str, str] = {}
    scopes: tuple[str, ...] = ()

    @property
    def is_daily(self) -> bool:
        return self.status == 429 and (
            self.policy == "DAILY" or (not self.policy and "daily" in self.message.casefold())
        )

    @property
    def reason(self) -> str:
        """A word that tells this failure from others."""
        if self.status == 429:
            return self.policy or "RATE_LIMIT"
        return str(self.status)

    def refusal(self) -> HubSpotRefused:
        return HubSpotRefused(
            self._explained(),
            status=self.status,
            category=self.category,
            correlation_id=self.correlation_id,
            fields=self.fields,
        )

    def failure(self) -> HubSpotDown:
        if self.is_daily:
            words = "the calls allowed in a day are used up, until HubSpot's day ends"
        elif self.status == 429:
            words = "is asked too often"
        else:
            words = f"failed with {self.status}" + (f": {self.message}" if self.message else "")
        return HubSpotDown(words, reason=self.reason, correlation_id=self.correlation_id)

    def _explained(self) -> str:
        if self.status == 401:
            return "HUBSPOT_TOKEN is not accepted; it may have been replaced or deleted there"
        if self.category == "MISSING_SCOPES" or (self.status == 403 and self.scopes):
            scopes = ", ".join(self.scopes)
            return "the token lacks " + (f"the scopes {scopes}" if scopes else "a scope") + " for this"
        wrong = "; ".join(f"{name} {words}" for name, words in self.fields.items())
        return ": ".join(part for part in (self.message or f"refused with {self.status}", wrong) if part)


def said(response: httpx2.Response) -> Said:
    try:
        body = msgspec.json.decode(response.content)
    except msgspec.DecodeError:
        body = None
    if not isinstance(body, dict):
        body = {}
    details = [one for one in _list(body.get("errors")) if isinstance(one, dict)]
    header = str(response.headers.get("x-hubspot-correlation-id", ""))
    return Said(
        status=response.status_code,
        message=_line(_JSON_WITHIN.sub("", _text(body.get("message")))),
        category=_text(body.get("category")),
        correlation_id=_line(_text(body.get("correlationId")) or header),
        policy=_policy(_text(body.get("policyName"))),
        fields=dict(_fields(body, details)),
        scopes=tuple(dict.fromkeys(_scopes(body, details))),
    )


def _policy(name: str) -> str:
    """`TEN_SECONDLY_ROLLING` is TEN_SECONDLY too."""
    return name.upper().removesuffix("_ROLLING")


def _fields(body: dict[str, Any], details: list[Any]) -> Iterator[tuple[str, str]]:
    """The first complaint about a property is the one that counts, so it comes last."""
    for one in reversed(details):
        words = _worded(_text(one.get("code")), _text(one.get("message")))
        for name in _named(one.get("context"), "propertyName"):
            yield name, words
    if not details:
        for name in _named(body.get("context"), "propertyName"):
            yield name, _line(_text(body.get("message")))


def _worded(code: str, message: str) -> str:
    if code == "MISSING_CONDITIONAL_REQUIRED_PROPERTY":
        other = _BASED_ON.search(message)
        return "must be filled in" + (f" because of {other.group(1)}" if other else "")
    return _WORDS.get(code) or _line(message) or "is refused"


def _scopes(body: dict[str, Any], details: list[Any]) -> Iterator[str]:
    for context in (body.get("context"), *(one.get("context") for one in details)):
        for name in ("requiredGranularScopes", "requiredScopes", "missingScopes"):
            yield from _named(context, name)


def _named(context: object, name: str) -> Iterator[str]:
    values = context.get(name) if isinstance(context, dict) else None
    yield from (each for each in ([values] if isinstance(values, str) else _list(values)) if _text(each))


def _with_reference(message: str, correlation_id: str) -> str:
    return f"{message} (HubSpot's reference: {correlation_id})" if correlation_id else message


def _line(text: str) -> str:
    return " ".join(text.replace("\0", "").split())[:500]


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
