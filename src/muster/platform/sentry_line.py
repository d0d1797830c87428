"""The line to Sentry: the SDK's own, in a thread of its own, kept to the host of the DSN."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import urllib3
from sentry_sdk.consts import EndpointType
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import HttpTransport
from typing_extensions import override

from muster.platform.telemetry import logger

_TIMEOUT = urllib3.Timeout(connect=3, total=10)
_REMEMBERED = 200


class Line(HttpTransport):
    """Follows no redirect, asks no proxy, tries once: an error that is not told of delays nobody.

    `fates` is event id → "" for one that was taken, or why it was not; `trouble` that of the last one.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        super().__init__(options)
        self.fates: OrderedDict[str, str] = OrderedDict()
        self.trouble = ""
        self._lost = ""

    @override
    def _request(
        self, method: str, endpoint_type: EndpointType, body: Any, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        url = self._auth.get_api_url(endpoint_type)
        return self._pool.request(
            method, url, body=body, headers=headers, redirect=False, retries=False, timeout=_TIMEOUT
        )

    @override
    def _send_envelope(self, envelope: Envelope) -> None:
        self._lost = ""
        try:
            super()._send_envelope(envelope)
        finally:
            self._note(str(envelope.headers.get("event_id", "")), self._lost)

    @override
    def _handle_response(self, response: Any, envelope: Envelope | None) -> None:
        super()._handle_response(response, envelope)
        if not 200 <= response.status < 300:
            self._lost = f"{response.status} {response.reason or ''}".strip()

    @override
    def on_dropped_event(self, reason: str) -> None:
        if reason == "full_queue":  # said by whoever has the error, not by the thread that sends
            self._say("too much waits to be told")
        else:
            self._lost = _WORDS.get(reason, reason)

    def _note(self, event_id: str, fate: str) -> None:
        self.fates[event_id] = fate
        while len(self.fates) > _REMEMBERED:
            self.fates.popitem(last=False)
        self._say(fate)

    def _say(self, trouble: str) -> None:
        """Once when it begins, once when it is over: whoever floods Sentry would flood the log besides."""
        if trouble and not self.trouble:
            logger.warning("errors_not_reported", host=self._host, reason=trouble)
        if self.trouble and not trouble:
            logger.info("errors_reported_again", host=self._host)
        self.trouble = trouble

    @property
    def _host(self) -> str:
        return self.parsed_dsn.host if self.parsed_dsn else ""


_WORDS = {
    "network": "does not answer",
    "self_rate_limits": "429 it asked not to be told for a while",
}
