"""What is wrong with Google's set-up, in plain words, and where it is put right, click by click."""

import re
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence

import httpx2
import msgspec

from muster.errors import MusterError, SettingsError, VendorError, VendorRefused
from muster.platform.outbound import HostRefused

AGAIN = "Then run `muster doctor` again."
HOSTS = "accounts.google.com, oauth2.googleapis.com, www.googleapis.com and admin.googleapis.com"
TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  an address

_DELEGATION = (
    "In admin.google.com, as a super administrator: Security → Access and data control → API controls → "
    "Manage domain-wide delegation (https://admin.google.com/ac/owl/domainwidedelegation)."
)
_DELAY = "Google takes some minutes to honour it, and 24 hours at most."
_ENABLE_LINK = re.compile(r"https://console\.(?:developers|cloud)\.google\.com/[^\s\"<>]+")
_PROJECT = re.compile(r"project (\d+)")
_BEYOND_VENDOR = re.compile(r"^Google(?: Directory)?: ")


class Ailment(MusterError):
    """A step that fails; the message says what was seen."""

    code = "set_up_ailing"

    def __init__(self, detail: str, *remedy: str) -> None:
        super().__init__(detail)
        self.remedy = "\n".join(remedy)


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """The names of this set-up that stand in its remedies; "" where one is not known."""

    client_id: str = ""
    client_email: str = ""
    key_id: str = ""
    project: str = ""
    admin_email: str = ""
    customer: str = ""

    @property
    def delegated_client(self) -> str:
        if self.client_id:
            return self.client_id
        return f"(the Unique ID of {self.client_email}, see console.cloud.google.com → Service accounts)"

    @property
    def accounts_page(self) -> str:
        query = f"?project={self.project}" if self.project else ""
        return (
            "In console.cloud.google.com: IAM & Admin → Service accounts "
            f"(https://console.cloud.google.com/iam-admin/serviceaccounts{query})"
        )


def ailment(error: MusterError, named: Named, *, scope: str) -> Ailment:
    """What an error of Google's interfaces means for the set-up; `scope` is the one that was used."""
    match error:
        case Ailment():
            return error
        case HostRefused():
            return Ailment(
                f"the key's token_uri is not one of Google's: {error}",
                f"Google's is {TOKEN_URI}. Make a new key (Service accounts → Keys → Add key → JSON) "
                "rather than mend the file by hand.",
                AGAIN,
            )
        case SettingsError():
            return Ailment(
                str(error), "Set them as docs/operating.md says under Google, step by step.", AGAIN
            )
        case VendorError() if any(isinstance(cause, httpx2.HTTPError) for cause in _beneath(error)):
            return network(error)
        case VendorError():
            return _in_googles_words(error, named, scope)
        case _:
            return Ailment(str(error))


def _in_googles_words(error: VendorError, named: Named, scope: str) -> Ailment:
    said = _BEYOND_VENDOR.sub("", str(error))
    if error.reason in {"unauthorized_client", "insufficientPermissions"}:
        return undelegated([scope], named, is_new=False)
    if worded := _WORDED.get(error.reason):
        return worded(said, named)
    if not error.reason or error.reason.isdigit():
        return stranger(said)
    return Ailment(
        f"Google answers {said}",
        *([] if isinstance(error, VendorRefused) else ["That usually passes by itself."]),
        "Where it does not: https://www.google.com/appsstatus shows whether Google has a fault.",
        AGAIN,
    )


def undelegated(scopes: Sequence[str], named: Named, *, is_new: bool) -> Ailment:
    """All that is missing at once, so that it is pasted once; `is_new` where no scope works at all."""
    how = "Add new. Client ID" if is_new else "Find this client and choose Edit. Client ID"
    lasts = (
        f"Where all that is there already: is {named.admin_email} an account of that Workspace, and "
        f"the client ID that of {named.client_email}?"
    )
    return Ailment(
        "Google does not grant this scope: it is not delegated to the service account",
        _DELEGATION,
        f"{how}:",
        named.delegated_client,
        "OAuth scopes (comma-delimited):" if is_new else "Add to its OAuth scopes (comma-delimited):",
        ",".join(scopes),
        f"Authorise. {_DELAY}",
        *([lasts] if is_new else []),
        AGAIN,
    )


def _api_off(said: str, named: Named) -> Ailment:
    return Ailment(
        f"the Admin SDK API is off in the key's project ({said})",
        f"Open {_enable_link(said, named)} and press Enable.",
        "It takes a few minutes.",
        AGAIN,
    )


def _closed_to_programs(said: str, named: Named) -> Ailment:
    return Ailment(
        f"the Workspace does not let its directory be read by programs ({said})",
        "In admin.google.com: Security → Access and data control → API controls. Under Manage Google "
        "Services, Google Workspace Admin must not be Restricted; or, under Manage app access, mark the "
        f"client ID {named.delegated_client} as Trusted.",
        _DELAY,
        AGAIN,
    )


def _too_often(said: str, _: Named) -> Ailment:
    return Ailment(
        f"Google says that it is asked too often ({said})",
        "Another program may use up the project's quota: console.cloud.google.com → APIs & Services → "
        "Admin SDK API → Quotas. Wait a minute.",
        AGAIN,
    )


def _no_grant(said: str, named: Named) -> Ailment:
    plain = said.casefold()
    if "signature" in plain:
        return Ailment(
            f"Google does not accept the key: it was deleted or disabled ({said})",
            f"{named.accounts_page} → {named.client_email} → Keys. The file's key is {named.key_id}.",
            "If it is not in that list: Add key → Create new key → JSON; put the new file where "
            "GOOGLE_SERVICE_ACCOUNT points, and delete the old one.",
            AGAIN,
        )
    if "account not found" in plain:
        return Ailment(
            f"Google knows no service account {named.client_email}: deleted or disabled ({said})",
            f"{named.accounts_page}. Enable it there, or make another, with a new key and a delegation of "
            "its own.",
            AGAIN,
        )
    if "email" in plain:
        return Ailment(
            f"GOOGLE_ADMIN_EMAIL ({named.admin_email}) is nobody who may sign in ({said})",
            f"In admin.google.com: Directory → Users → {named.admin_email}. Misspelt, deleted, suspended, "
            "or of another Workspace?",
            "Set GOOGLE_ADMIN_EMAIL to the primary address of an active administrator.",
            AGAIN,
        )
    if "timeframe" in plain or "iat" in plain:
        return wrong_clock(f"Google finds the request out of date: this machine's clock is wrong ({said})")
    return Ailment(
        f"Google does not accept the key or GOOGLE_ADMIN_EMAIL ({said})",
        f"{named.accounts_page} → {named.client_email}: is it enabled, and the key {named.key_id} there?",
        f"In admin.google.com: Directory → Users: is {named.admin_email} active?",
        AGAIN,
    )


def wrong_clock(detail: str) -> Ailment:
    return Ailment(
        detail,
        "Set this machine's clock by NTP: `timedatectl set-ntp true`, or chrony. A container has its host's.",
        AGAIN,
    )


def _forbidden(said: str, named: Named) -> Ailment:
    customer = (
        [f"GOOGLE_CUSTOMER is {named.customer}: that must be this Workspace's; leave it unset if in doubt."]
        if named.customer != "my_customer"
        else []
    )
    return Ailment(
        f"GOOGLE_ADMIN_EMAIL ({named.admin_email}) may not read this ({said})",
        "In admin.google.com: Account → Admin roles. Take a role, or make one, with the Admin API privileges "
        f"Organizational Units → Read, Users → Read and Groups → Read, and assign it to {named.admin_email}; "
        "or set GOOGLE_ADMIN_EMAIL to somebody who has them.",
        *customer,
        _DELAY,
        AGAIN,
    )


def _not_found(said: str, named: Named) -> Ailment:
    if named.customer == "my_customer":
        return Ailment(f"Google does not find what was asked for ({said})", AGAIN)
    return Ailment(
        f"Google knows no customer {named.customer} ({said})",
        "In admin.google.com: Account → Account settings → Profile → Customer ID. Set GOOGLE_CUSTOMER to it, "
        "or leave it unset: then it is the Workspace of GOOGLE_ADMIN_EMAIL.",
        AGAIN,
    )


def _enable_link(said: str, named: Named) -> str:
    if found := _ENABLE_LINK.search(said):
        return found.group().rstrip(".,")
    number = _PROJECT.search(said)
    project = number.group(1) if number else named.project
    return "https://console.cloud.google.com/apis/library/admin.googleapis.com" + (
        f"?project={project}" if project else ""
    )


_WORDED: dict[str, Callable[[str, Named], Ailment]] = {
    "invalid_grant": _no_grant,
    "accessNotConfigured": _api_off,
    "domainCannotUseApis": _closed_to_programs,
    "forbidden": _forbidden,
    **dict.fromkeys(("notFound", "invalid", "badRequest"), _not_found),
    **dict.fromkeys(("userRateLimitExceeded", "rateLimitExceeded", "quotaExceeded"), _too_often),
}


def stranger(said: str) -> Ailment:
    return Ailment(
        f"the answer is not worded as Google words its answers ({said})",
        "A proxy or a firewall seems to answer in Google's place: let this machine reach "
        f"{HOSTS} at port 443, untouched.",
        "If there is none, Google's own front end is in trouble: https://www.google.com/appsstatus",
        AGAIN,
    )


def network(error: BaseException) -> Ailment:
    """A connection that did not come about, told apart by what lies beneath the error."""
    causes = list(_beneath(error))
    host = next((_host(cause) for cause in causes if _host(cause)), "Google")
    for cause in causes:
        match cause:
            case socket.gaierror():
                return Ailment(
                    f"the name {host} cannot be looked up ({cause.strerror})",
                    f"DNS: `getent hosts {host}` must print an address on this machine. See "
                    "/etc/resolv.conf, or the container's DNS.",
                    AGAIN,
                )
            case ssl.SSLCertVerificationError():
                return Ailment(
                    f"{host} shows a certificate that is not trusted ({cause.verify_message})",
                    "TLS: a proxy that looks into connections shows its own certificate. Exempt "
                    f"{HOSTS} from it.",
                    "Is this machine's clock right? A wrong one makes good certificates look expired.",
                    AGAIN,
                )
            case ssl.SSLError():
                return Ailment(
                    f"{host} does not speak TLS ({cause.reason or cause})",
                    f"Something else answers in its place: a proxy? Let this machine reach {HOSTS} at port "
                    "443, untouched.",
                    AGAIN,
                )
            case ConnectionRefusedError():
                return Ailment(
                    f"{host} refuses the connection",
                    f"A firewall: allow this machine to reach {HOSTS} at port 443. "
                    "Muster reads no HTTP_PROXY.",
                    AGAIN,
                )
            case TimeoutError() | httpx2.TimeoutException():
                return frozen(host)
    return Ailment(
        f"the connection to {host} fails ({error})",
        f"A firewall or a proxy? Let this machine reach {HOSTS} at port 443, untouched.",
        AGAIN,
    )


def frozen(host: str) -> Ailment:
    return Ailment(
        f"{host} does not answer in time",
        f"A firewall that drops packets is the usual cause: allow this machine to reach {HOSTS} at port 443. "
        "Muster reads no HTTP_PROXY.",
        AGAIN,
    )


def _beneath(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        else:
            error = error.__cause__ or error.__context__


def _host(error: BaseException) -> str:
    """Of the request that failed, where the error knows it."""
    if not isinstance(error, httpx2.RequestError):
        return ""
    try:
        return error.request.url.host
    except RuntimeError:  # httpx2's word for an error without a request
        return ""
