"""How HubSpot's interfaces are called: at the pace of the account, counted, and again where that is safe.

Asking twice costs nothing; writing twice may. So what reads is tried again after any passing failure, and
what writes only where HubSpot has surely not begun.
"""

import asyncio
import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar

import httpx2
import msgspec

from muster.crm.hubspot_errors import VENDOR, HubSpotDown, HubSpotRefused, OutcomeUnknown, Said, said
from muster.crm.meter import Meter
from muster.crm.pace import Bucket, Pace
from muster.errors import SettingsError, VendorDown
from muster.platform.outbound import ATTEMPT
from muster.platform.tally import Tally

__all__ = ["VENDOR", "HubSpotApi", "HubSpotDown", "HubSpotRefused", "OutcomeUnknown"]

Shape = TypeVar("Shape")
Method = Literal["GET", "POST", "PATCH", "DELETE"]

ATTEMPTS = 7
LONGEST_WAIT = timedelta(seconds=30)

_UNSENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
_NOT_BEGUN = frozenset({423, 429, 477})
"""Locked, too many, and "this account is being moved": HubSpot refuses these before it does anything."""


class _Failed(Exception):
    """One try that may be repeated: why, from when on, and whether a write may have been carried out."""

    def __init__(self, error: HubSpotDown, *, is_begun: bool, wait: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.is_begun = is_begun
        self.wait = wait


class HubSpotApi:
    """Raises SettingsError without a token, HubSpotRefused for what lasts, VendorDown for what passes."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        *,
        base_url: str,
        token: str | None,
        pace: Pace,
        meter: Meter,
        tally: Tally | None = None,
        attempts: int = ATTEMPTS,
        feature: str = "other",
    ) -> None:
        self._http = http
        self._base_url = base_url.rstrip("/")
        self._token = token
        self._pace = pace
        self._meter = meter
        self._tally = tally or Tally()
        self._attempts = attempts
        self._feature = feature

    def for_(self, feature: str) -> "HubSpotApi":
        """The same, with its calls put down to `feature`."""
        return self._like(feature=feature)

    def counted(self, tally: Tally) -> "HubSpotApi":
        """The same, with what it does counted in `tally`."""
        return self._like(tally=tally)

    def impatient(self) -> "HubSpotApi":
        """The same, that takes the first answer for the answer, whatever it is."""
        return self._like(attempts=1)

    async def get(self, path: str, shape: type[Shape], query: Mapping[str, str] | None = None) -> Shape:
        response = await self._patiently("GET", path, query=query)
        return _read(response, shape)

    async def ask(self, path: str, body: object, shape: type[Shape], *, bucket: Bucket = "general") -> Shape:
        """A POST that only reads: a batch read, or a search."""
        response = await self._patiently("POST", path, body=body, bucket=bucket)
        return _read(response, shape)

    async def write(
        self, method: Literal["POST", "PATCH"], path: str, body: object, shape: type[Shape]
    ) -> Shape:
        """Raises OutcomeUnknown besides."""
        response = await self._patiently(method, path, body=body, is_write=True)
        try:
            return _read(response, shape)
        except VendorDown as error:
            raise OutcomeUnknown(f"took the change and answered what cannot be read ({error})") from error

    async def delete(self, path: str) -> None:
        """Deleting twice is deleting once, so this is tried again as what reads is."""
        await self._patiently("DELETE", path)

    def _like(
        self, *, tally: Tally | None = None, attempts: int | None = None, feature: str | None = None
    ) -> "HubSpotApi":
        return HubSpotApi(
            self._http,
            base_url=self._base_url,
            token=self._token,
            pace=self._pace,
            meter=self._meter,
            tally=tally or self._tally,
            attempts=attempts or self._attempts,
            feature=feature or self._feature,
        )

    async def _patiently(
        self,
        method: Method,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        bucket: Bucket = "general",
        is_write: bool = False,
    ) -> httpx2.Response:
        """An answer of success, after as many tries as it takes, up to `attempts`."""
        request = self._request(method, path, query, body)
        attempt = 0
        while True:
            try:
                return await self._once(request, bucket, attempt)
            except _Failed as failed:
                self._tally.faults[failed.error.reason] += 1
                if is_write and failed.is_begun:
                    raise _unknown(failed.error) from failed.error
                attempt += 1
                wait = _wait(attempt - 1) if failed.wait is None else failed.wait
                if attempt >= self._attempts or wait > LONGEST_WAIT.total_seconds():
                    raise failed.error from failed.error.__cause__
            self._meter.retried(self._feature)
            await asyncio.sleep(wait)

    def _request(
        self, method: Method, path: str, query: Mapping[str, str] | None, body: object
    ) -> httpx2.Request:
        if not self._token:
            raise SettingsError("HUBSPOT_TOKEN is not set; customers are read from HubSpot with it")
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json"}
        content = None
        if body is not None:
            headers["content-type"], content = "application/json", msgspec.json.encode(body)
        return self._http.build_request(
            method, self._base_url + path, params=dict(query or {}), headers=headers, content=content
        )

    async def _once(self, request: httpx2.Request, bucket: Bucket, attempt: int) -> httpx2.Response:
        """Raises _Failed for what may be tried again."""
        with self._tally.waiting():
            await self._pace.turn(bucket)
        self._tally.calls += 1
        self._meter.called(self._feature)
        request.extensions[ATTEMPT] = attempt + 1
        try:
            response = await self._http.send(request)
        except httpx2.HTTPError as error:
            down = HubSpotDown(f"does not answer ({type(error).__name__})", reason="unreachable")
            down.__cause__ = error
            raise _Failed(down, is_begun=not isinstance(error, _UNSENT)) from error
        self._remember(response)
        if response.is_success:
            return response
        answer = said(response)
        if response.status_code in _NOT_BEGUN:
            raise await self._too_much(answer, response, bucket, attempt)
        if response.status_code >= 500 or response.status_code == 408:
            raise _Failed(answer.failure(), is_begun=True, wait=_retry_after(response))
        if answer.category == "MISSING_SCOPES":
            self._meter.lacked_scope()
        raise answer.refusal()

    async def _too_much(
        self, answer: Said, response: httpx2.Response, bucket: Bucket, attempt: int
    ) -> Exception:
        """What to raise; whoever else asks is told to wait, too."""
        if answer.is_daily:
            self._meter.used_up()
            self._tally.faults[answer.reason] += 1
            return answer.failure()
        wait = _retry_after(response)
        if wait is None:
            wait = max(1.0, _wait(attempt))
        if answer.status != 429:
            return _Failed(answer.failure(), is_begun=False, wait=wait)
        await self._pace.refused(bucket, wait)
        # The next turn is as far away as that, so there is no need to wait besides.
        is_too_long = wait > LONGEST_WAIT.total_seconds()
        return _Failed(answer.failure(), is_begun=False, wait=wait if is_too_long else 0.0)

    def _remember(self, response: httpx2.Response) -> None:
        """Its headers say how much may be asked; searches have none."""
        most, span = (
            _number(response, f"x-hubspot-ratelimit-{name}") for name in ("max", "interval-milliseconds")
        )
        if most is not None and span is not None:
            self._pace.learn(most, span)
        limit, left = (
            _number(response, f"x-hubspot-ratelimit-{name}") for name in ("daily", "daily-remaining")
        )
        if limit is not None and left is not None:
            self._meter.said(daily_limit=limit, daily_left=left)


def decoded(content: bytes, shape: type[Shape]) -> Shape:
    """Raises VendorDown. JSON can hold NUL and halves of characters, which PostgreSQL's text cannot."""
    try:
        if b"\\u0000" not in content:
            return msgspec.json.decode(content, type=shape)
    except msgspec.ValidationError as error:
        raise HubSpotDown(f"an answer that cannot be read: {error}", reason="unreadable") from error
    except msgspec.DecodeError:
        pass
    try:
        return msgspec.convert(_cleaned(json.loads(content)), shape)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise HubSpotDown(f"an answer that cannot be read: {error}", reason="unreadable") from error


def _unknown(error: HubSpotDown) -> OutcomeUnknown:
    said = str(error).removeprefix(f"{VENDOR}: ")
    unknown = OutcomeUnknown(
        f"the change was sent, and whether it was made is not known: {said}", reason=error.reason
    )
    unknown.correlation_id = error.correlation_id  # its words have it already
    return unknown


def _read(response: httpx2.Response, shape: type[Shape]) -> Shape:
    return decoded(response.content, shape)


def _cleaned(value: Any) -> Any:
    match value:
        case str():
            return value.replace("\0", "").encode(errors="replace").decode()
        case list():
            return [_cleaned(one) for one in value]
        case dict():
            return {_cleaned(name): _cleaned(one) for name, one in value.items()}
        case _:
            return value


def _number(response: httpx2.Response, header: str) -> int | None:
    text = response.headers.get(header, "")
    return int(text) if text.isdecimal() and len(text) <= 9 else None


def _retry_after(response: httpx2.Response) -> float | None:
    """Seconds; HubSpot does not always say."""
    text = response.headers.get("retry-after", "").strip()
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _wait(attempt: int) -> float:
    """Seconds: exponential with jitter, and capped."""
    longest: float = min(0.25 * 2**attempt, LONGEST_WAIT.total_seconds())
    return random.uniform(0.5, 1) * longest  # noqa: S311  jitter, not a secret
