"""Every error Muster raises on purpose.

MusterError
├── Refusal            the caller's to mend; its words are safe to show
│   NotSignedIn · NotAllowed · NotFound · Conflict · Invalid · TooLarge · TooMany
├── Unavailable        one of our own servers (PostgreSQL, Redis) does not answer
├── VendorError        someone else's failure
│   VendorDown (passing: worth another try) · VendorRefused (lasting: never retried)
├── SettingsError      the environment does not describe a system that can run
└── EmbeddedServerError (embedded/): a server that `muster up` runs cannot

Classes carry a code, never an HTTP status: the worker has no HTTP. `web.py` turns codes into
statuses, `platform/queue/` into the fate of a job. Anything else that is raised is a bug.
"""

from datetime import timedelta
from typing import ClassVar


class MusterError(Exception):
    """The root; `str()` of every one is a single line a person can act on."""

    code: ClassVar[str] = "error"


class Refusal(MusterError):
    """What was asked cannot be done as asked; the message may be shown to whoever asked."""

    code = "refused"


class NotSignedIn(Refusal):
    code = "not_signed_in"


class NotAllowed(Refusal):
    code = "not_allowed"


class NotFound(Refusal):
    code = "not_found"


class Conflict(Refusal):
    code = "conflict"


class Invalid(Refusal):
    code = "invalid"


class TooLarge(Refusal):
    code = "too_large"


class TooMany(Refusal):
    code = "too_many"

    def __init__(self, message: str, *, retry_after: timedelta) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(MusterError):
    """One of our own servers does not answer; nothing was lost by saying so.

    `row` is that of the checklist which says what to do about it, "" where none does.
    """

    code = "unavailable"

    def __init__(self, message: str, *, row: str = "") -> None:
        super().__init__(message)
        self.row = row


class VendorError(MusterError):
    """`vendor` failed; `reason` is its own machine-readable word for why, where it gave one."""

    code = "vendor_failed"

    def __init__(self, vendor: str, message: str, *, reason: str = "") -> None:
        super().__init__(f"{vendor}: {message}")
        self.vendor = vendor
        self.reason = reason


class VendorDown(VendorError):
    """Passing: throttled, timed out, 5xx. Worth another try later."""

    code = "vendor_down"


class VendorRefused(VendorError):
    """Lasting: the set-up or the request is wrong. Trying again changes nothing."""

    code = "vendor_refused"


class SettingsError(MusterError):
    """A setting is missing or wrong; the message names it and says what is expected."""

    code = "settings"
