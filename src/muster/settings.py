"""The only reader of the environment: settings are read once, checked, frozen.

A value is looked for in the process's environment, then in `.env` of the working folder, then in
`$MUSTER_HOME/instance.env`, which `muster up` writes so that commands typed in another terminal
reach the servers it runs. Every name may also be given as `NAME_FILE`, a file that holds the value.
"""

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from environs import FileAwareEnv
from typing_extensions import override

from muster.errors import SettingsError
from muster.platform.addresses import is_loopback

DEFAULT_HOME = ".muster"
INSTANCE_FILE = "instance.env"
GOOGLE_ISSUER = "https://accounts.google.com"
GOOGLE_DIRECTORY_URL = "https://admin.googleapis.com"
HUBSPOT_URL = "https://api.hubapi.com"
OWNER = "DATABASE_OWNER_URL"
"""The key to the tables themselves, which no process that serves or works may hold."""

_OWNERS = (OWNER, f"{OWNER}_FILE")

LOG_LEVELS = ("trace", "debug", "info", "warn", "error", "fatal")

_PORT = "a number from 1 to 65535"
_NAMES = {
    "environment": "MUSTER_ENVIRONMENT",
    "home": "MUSTER_HOME",
    "people_sync_every": "PEOPLE_SYNC_MINUTES",
    "crm_sync_every": "CRM_SYNC_MINUTES",
    "session_idle": "SESSION_IDLE_MINUTES",
    "people_removal_percent": "PEOPLE_REMOVAL_PERCENT",
}
"""Fields whose setting is not simply called as they are."""

MEANINGS: dict[str, dict[str, str]] = {
    "Portal": {
        "MUSTER_ENVIRONMENT": "development or production; production wants an https address and listens on every interface",  # noqa: E501
        "MUSTER_HOME": "folder of one instance: embedded servers, key, instance.env",
        "HOST": "address to listen on",
        "PORT": "port to listen on",
        "PUBLIC_URL": "where browsers find the portal, without a path",
        "SECRET_KEY": "at least 32 random characters, from which form tokens are made",
        "SECRET_KEY_FALLBACKS": "earlier keys whose form tokens still count, separated by commas",
        "LOG_LEVEL": "trace, debug, info, warn, error or fatal",
        "NO_COLOR": "anything: the log has no colours on a terminal either",
        "SENTRY_DSN": "where errors are reported to; without it nowhere",
        "TRUSTED_PROXIES": "addresses or networks whose X-Forwarded-For is believed, separated by commas",
    },
    "Servers": {
        "DATABASE_URL": "PostgreSQL, as the role that web and worker are; "
        "in production it demands TLS of a server elsewhere",
        "DATABASE_OWNER_URL": "the same database, as the role that owns its tables; "
        "read by migrate, up and config alone",
        "REDIS_URL": "Redis or Valkey: redis://, rediss:// or unix://",
        "CACHE_REDIS_URL": "another one, for what is cached alone",
    },
    "People and access": {
        "ALLOWED_DOMAINS": "Workspace domains whose people may sign in, secondary ones too, "
        "separated by commas",
        "ADMIN_EMAILS": "whoever signs in with one of these becomes an administrator",
        "PEOPLE_REMOVAL_PERCENT": "when more of the company than this would leave within an hour, and more than ten people, an administrator is asked first; 0 to 100",  # noqa: E501
        "SESSION_IDLE_MINUTES": "after how long without a request a session ends, 1 to 1440; it ends 24 hours after sign-in anyway",  # noqa: E501
        "SEAT_PRICE": "what a Workspace account costs a month, as 12.00 EUR; the dashboard then tells unused ones in money",  # noqa: E501
        "PEOPLE_SYNC_MINUTES": "how often the directory is read, 1 to 1440",
    },
    "Google": {
        "GOOGLE_CLIENT_ID": "the OAuth client's id; without it up runs the sandbox company",
        "GOOGLE_CLIENT_SECRET": "the OAuth client's secret",
        "GOOGLE_ISSUER": "who signs people in",
        "GOOGLE_SERVICE_ACCOUNT": "the service account's key: its JSON, or the path of the file",
        "GOOGLE_ADMIN_EMAIL": "the administrator in whose name the directory is read",
        "GOOGLE_CUSTOMER": "the Workspace customer",
        "GOOGLE_DIRECTORY_URL": "where the Directory API is",
    },
    "HubSpot": {
        "HUBSPOT_TOKEN": "the app's access token; without it there are no customers here",
        "HUBSPOT_WEBHOOK_SECRET": "the app's client secret, with which its webhooks are signed",
        "HUBSPOT_URL": "where HubSpot's API is",
        "CRM_SYNC_MINUTES": "how often what changed in HubSpot is read, 1 to 1440",
    },
}
"""Group → setting → what it is, as docs/operating.md has it too."""

_DOMAIN = re.compile(r"^(?=.{4,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$")
_EMAIL = re.compile(r"^[^@\s]+@[^@\s]+$")

_AMOUNT, _CURRENCY = re.compile(r"^\d{1,7}(\.\d{1,2})?$"), re.compile(r"^[A-Z]{3}$")

_NAMED = re.compile(r"\b[A-Z]{4,}(?:_[A-Z]+)*\b")
"""A setting in an error's words, which name it before anything else."""

_STAND_INS = {
    "SECRET_KEY": "0" * 32,
    "PUBLIC_URL": "https://unset.invalid",
    "DATABASE_URL": "postgresql://127.0.0.1:1/unset",
    "REDIS_URL": "redis://127.0.0.1:1",
    "ALLOWED_DOMAINS": "unset.invalid",
    "GOOGLE_CLIENT_ID": "unset",
    "GOOGLE_CLIENT_SECRET": "unset",
}
"""Values that would be refused at once by whoever is asked with them; the others have defaults."""

T = TypeVar("T")
AnyEnv = TypeVar("AnyEnv", bound=FileAwareEnv)


class Secret:
    """A value that does not print; `reveal()` where it is used, and nowhere else."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    @override
    def __repr__(self) -> str:
        return "<hidden>"

    def __bool__(self) -> bool:
        return bool(self._value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything Muster can be told from outside; docs/operating.md explains each in a line."""

    environment: Literal["development", "production"] = "development"
    home: Path = Path(DEFAULT_HOME)
    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = "http://localhost:8000"
    secret_key: Secret
    secret_key_fallbacks: tuple[Secret, ...] = ()
    database_url: Secret
    database_owner_url: Secret | None = None
    """Of the tables' owner; only for who loads `with_owner`."""
    redis_url: Secret
    cache_redis_url: Secret | None = None
    allowed_domains: tuple[str, ...]
    admin_emails: tuple[str, ...] = ()
    google_client_id: str
    google_client_secret: Secret
    google_issuer: str = GOOGLE_ISSUER
    google_service_account: Secret | None = None
    google_admin_email: str = ""
    google_customer: str = "my_customer"
    google_directory_url: str = GOOGLE_DIRECTORY_URL
    hubspot_token: Secret | None = None
    hubspot_webhook_secret: Secret | None = None
    hubspot_url: str = HUBSPOT_URL
    session_idle: timedelta = timedelta(minutes=60)
    people_sync_every: timedelta = timedelta(minutes=15)
    crm_sync_every: timedelta = timedelta(minutes=5)
    people_removal_percent: int = 5
    seat_price: str = ""
    log_level: str = "info"
    no_color: str = ""
    sentry_dsn: Secret | None = None
    trusted_proxies: tuple[str, ...] = ()

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def is_sandbox(self) -> bool:
        """Google is the sandbox company on this machine, so every page says so."""
        return is_loopback(urlsplit(self.google_issuer).hostname or "")

    @property
    def cached_at(self) -> Secret:
        """The Redis of what is cached."""
        return self.cache_redis_url or self.redis_url

    @property
    def has_hubspot(self) -> bool:
        """Whether there are customers to read."""
        return bool(self.hubspot_token)

    def secrets(self) -> list[str]:
        """Every secret among them, for whoever keeps them out of something."""
        held = [getattr(self, field.name) for field in fields(self)]
        flat = [one for value in held for one in (value if isinstance(value, tuple) else (value,))]
        return [one.reveal() for one in flat if isinstance(one, Secret) and one]

    def shown(self) -> dict[str, str]:
        """Name → value as `muster config` prints it: secrets hidden, passwords in addresses too."""
        shown = {
            _NAMES.get(field.name, field.name.upper()): _shown(getattr(self, field.name))
            for field in fields(self)
        }
        addresses = {
            "DATABASE_URL": self.database_url,
            OWNER: self.database_owner_url,
            "REDIS_URL": self.redis_url,
            "CACHE_REDIS_URL": self.cache_redis_url,
        }
        return shown | {name: _without_password(url.reveal()) for name, url in addresses.items() if url}


def load(*, working_folder: Path | None = None, with_owner: bool = False) -> Settings:
    """The settings of this process; `with_owner` is for who migrates.

    Raises SettingsError, one line that names the setting and what it expects.
    """
    env = read_environment(working_folder or Path.cwd())
    try:
        return _settings(env, with_owner=with_owner)
    except ValueError as error:  # of environs, whose errors are all of this kind
        raise SettingsError(_one_line(error)) from error
    finally:
        _forget_the_owner()


def survey(*, working_folder: Path | None = None) -> tuple[Settings, dict[str, str]]:
    """The settings with stand-ins for those that are missing or wrong, and what is wrong with each.

    For who has to name all of them at once, where `load` ends at the first.
    """
    env = _read_into(_PatchedEnv(strip_whitespace=True), working_folder or Path.cwd())
    _forget_the_owner()
    problems: dict[str, str] = {}
    while True:
        try:
            return _settings(env), problems
        except (SettingsError, ValueError) as error:
            named = _NAMED.search(str(error))
            name = named.group().removesuffix("_FILE") if named else ""
            if not name or name in problems:
                raise SettingsError(_one_line(error)) from error
            problems[name] = _one_line(error).removesuffix(_hint(env))
            env.patches[name] = _STAND_INS.get(name)


def read_environment(working_folder: Path, *, with_instance: bool = True) -> FileAwareEnv:
    """The environment with the files behind it; `with_instance` is for all but `muster up` itself."""
    return _read_into(FileAwareEnv(strip_whitespace=True), working_folder, with_instance=with_instance)


def _read_into(env: AnyEnv, working_folder: Path, *, with_instance: bool = True) -> AnyEnv:
    env.read_env(working_folder / ".env", recurse=False)
    if with_instance:
        env.read_env(home_folder(env) / INSTANCE_FILE, recurse=False)
    return env


class _PatchedEnv(FileAwareEnv):
    """With `patches` in place of what stands there, None for the default."""

    def __init__(self, *, strip_whitespace: bool) -> None:
        super().__init__(strip_whitespace=strip_whitespace)
        self.patches: dict[str, str | None] = {}

    @override
    def _get_value(self, env_key: str, default: Any) -> Any:
        if env_key not in self.patches:
            return super()._get_value(env_key, default)
        patch = self.patches[env_key]
        return default if patch is None else patch


def home_folder(env: FileAwareEnv) -> Path:
    return Path(env.str("MUSTER_HOME", DEFAULT_HOME)).expanduser().absolute()


def child_environment(**values: str) -> dict[str, str]:
    """The environment of this process with `values` over it, for the processes `muster up` starts."""
    kept = {name: value for name, value in os.environ.items() if name not in _OWNERS}
    return {**kept, **values}


def _forget_the_owner() -> None:
    """Nothing that runs in this process after, and nothing it starts, shall find it in the environment."""
    for name in _OWNERS:
        os.environ.pop(name, None)


def _settings(env: FileAwareEnv, *, with_owner: bool = False) -> Settings:
    environment = env.str("MUSTER_ENVIRONMENT", "development")
    if environment not in {"development", "production"}:
        raise SettingsError(f"MUSTER_ENVIRONMENT is {environment!r}; expected development or production")
    production = environment == "production"
    google_issuer = _url(env, "GOOGLE_ISSUER", GOOGLE_ISSUER, {"https"} if production else {"http", "https"})
    return Settings(
        environment="production" if production else "development",
        home=home_folder(env),
        host=env.str("HOST", "0.0.0.0" if production else "127.0.0.1"),  # noqa: S104  a container is reached from outside
        port=port(env),
        public_url=public_url(env),
        secret_key=_key(_required(env, "SECRET_KEY", "at least 32 random characters")),
        secret_key_fallbacks=tuple(
            _key(key, "SECRET_KEY_FALLBACKS") for key in _words(env, "SECRET_KEY_FALLBACKS")
        ),
        database_url=_postgresql(env, "DATABASE_URL"),
        database_owner_url=(
            _postgresql(env, "DATABASE_OWNER_URL")
            if with_owner and env.str("DATABASE_OWNER_URL", "")
            else None
        ),
        redis_url=Secret(_url(env, "REDIS_URL", None, {"redis", "rediss", "unix"})),
        cache_redis_url=(
            Secret(_url(env, "CACHE_REDIS_URL", None, {"redis", "rediss", "unix"}))
            if env.str("CACHE_REDIS_URL", "")
            else None
        ),
        allowed_domains=_matching(env, "ALLOWED_DOMAINS", _DOMAIN, "domains such as acme.com", needed=True),
        admin_emails=_matching(env, "ADMIN_EMAILS", _EMAIL, "e-mail addresses", needed=False),
        google_client_id=_required(env, "GOOGLE_CLIENT_ID", "the OAuth client's id"),
        google_client_secret=Secret(_required(env, "GOOGLE_CLIENT_SECRET", "the OAuth client's secret")),
        google_issuer=google_issuer.rstrip("/"),
        google_service_account=_text_or_file(env, "GOOGLE_SERVICE_ACCOUNT"),
        google_admin_email=env.str("GOOGLE_ADMIN_EMAIL", ""),
        google_customer=env.str("GOOGLE_CUSTOMER", "my_customer"),
        google_directory_url=_url(
            env, "GOOGLE_DIRECTORY_URL", GOOGLE_DIRECTORY_URL, {"http", "https"}
        ).rstrip("/"),
        hubspot_token=_header_secret(env, "HUBSPOT_TOKEN"),
        hubspot_webhook_secret=_header_secret(env, "HUBSPOT_WEBHOOK_SECRET"),
        hubspot_url=_url(
            env, "HUBSPOT_URL", HUBSPOT_URL, {"https"} if production else {"http", "https"}
        ).rstrip("/"),
        session_idle=_minutes(env, "SESSION_IDLE_MINUTES", 60),
        people_sync_every=_minutes(env, "PEOPLE_SYNC_MINUTES", 15),
        crm_sync_every=_minutes(env, "CRM_SYNC_MINUTES", 5),
        people_removal_percent=_percent(env, "PEOPLE_REMOVAL_PERCENT", 5),
        seat_price=_price(env, "SEAT_PRICE"),
        log_level=_log_level(env),
        no_color=env.str("NO_COLOR", ""),
        sentry_dsn=_dsn(env),
        trusted_proxies=_proxies(env),
    )


def public_url(env: FileAwareEnv) -> str:
    """Where browsers find the portal, without a slash at the end."""
    is_production = env.str("MUSTER_ENVIRONMENT", "") == "production"
    default = None if is_production else f"http://localhost:{port(env)}"
    url = _url(env, "PUBLIC_URL", default, {"http", "https"})
    if urlsplit(url).path.strip("/") or urlsplit(url).query:
        raise SettingsError("PUBLIC_URL is not an address without a path, such as https://portal.example.com")
    if is_production and not url.startswith("https://"):
        raise SettingsError("PUBLIC_URL must begin with https:// in production, since cookies are sent to it")
    return _as_browsers_say_it(url)


def _as_browsers_say_it(url: str) -> str:
    """Without the port that goes without saying, which browsers leave out of Origin."""
    parts = urlsplit(url)
    usual = {"https": ":443", "http": ":80"}[parts.scheme]
    return f"{parts.scheme}://{parts.netloc.removesuffix(usual).casefold()}"


def _required(env: FileAwareEnv, name: str, expected: str) -> str:
    value = env.str(name, "")
    if not value:
        raise SettingsError(f"{name} is not set; expected {expected}{_hint(env)}")
    return value


def _hint(env: FileAwareEnv) -> str:
    """In development the usual cause is that nothing runs."""
    if env.str("MUSTER_ENVIRONMENT", "") == "production" or (home_folder(env) / INSTANCE_FILE).exists():
        return ""
    return f". Nothing runs on {home_folder(env)} either: `muster up` would set it"


def _url(env: FileAwareEnv, name: str, default: str | None, schemes: set[str]) -> str:
    expected = "an address that begins with " + " or ".join(f"{scheme}://" for scheme in sorted(schemes))
    value = _required(env, name, expected) if default is None else env.str(name, default)
    parts = _checked(name, expected, lambda: urlsplit(value))
    _checked(name, f"{expected}, its port {_PORT}", lambda: parts.port)
    if parts.scheme not in schemes or not (parts.netloc or parts.scheme == "unix"):
        raise SettingsError(f"{name} is not {expected}")
    return value


def _postgresql(env: FileAwareEnv, name: str) -> Secret:
    """The address of a database; in production one that demands TLS of a server elsewhere."""
    value = _url(env, name, None, {"postgresql", "postgres"})
    if env.str("MUSTER_ENVIRONMENT", "") == "production" and not _demands_tls(value):
        for host in _hosts_of(value):
            if not _is_here(host):
                raise SettingsError(
                    f"{name} leads to {host} and does not demand TLS; expected of a server elsewhere "
                    "?sslmode=verify-full with the sslrootcert of its provider, or ?sslmode=require at least"
                )
    return Secret(value)


def _demands_tls(url: str) -> bool:
    """Whether libpq would rather give up than speak in the clear: by default it only prefers not to."""
    asked = dict(parse_qsl(urlsplit(url).query))
    implied = "verify-full" if asked.get("sslrootcert") == "system" else ""
    return asked.get("sslmode", implied) in {"require", "verify-ca", "verify-full"}


def _hosts_of(url: str) -> list[str]:
    """Every host that libpq would try, in the order in which it does."""
    parts = urlsplit(url)
    asked = dict(parse_qsl(parts.query))
    named = asked.get("hostaddr") or asked.get("host") or unquote(parts.hostname or "")
    return named.split(",")


def _is_here(host: str) -> bool:
    """On this machine: a socket, which is what no host means too, or loopback."""
    return not host or host.startswith(("/", "@")) or is_loopback(host)


def _key(value: str, name: str = "SECRET_KEY") -> Secret:
    if len(value) < 32:
        raise SettingsError(f"{name} holds {len(value)} characters; expected at least 32 random ones")
    return Secret(value)


def _header_secret(env: FileAwareEnv, name: str) -> Secret | None:
    """One that travels in a header, or is kept by somebody who makes them so."""
    value = env.str(name, "")
    if not value.isascii() or not value.isprintable() or " " in value:
        raise SettingsError(f"{name} holds characters that no token has; expected it as HubSpot shows it")
    return Secret(value) if value else None


def _words(env: FileAwareEnv, name: str) -> tuple[str, ...]:
    return tuple(word for word in re.split(r"[,\s]+", env.str(name, "")) if word)


def _matching(
    env: FileAwareEnv, name: str, pattern: re.Pattern[str], expected: str, *, needed: bool
) -> tuple[str, ...]:
    words = tuple(word.casefold() for word in _words(env, name))
    if needed and not words:
        _required(env, name, f"{expected}, separated by commas")
    if wrong := [word for word in words if not pattern.match(word)]:
        raise SettingsError(f"{name} holds {wrong[0]!r}; expected {expected}, separated by commas")
    return words


def _text_or_file(env: FileAwareEnv, name: str) -> Secret | None:
    """JSON as it is, or the path of a file that holds it."""
    value = env.str(name, "")
    if not value or value.lstrip().startswith("{"):
        return Secret(value) if value else None
    try:
        return Secret(Path(value).expanduser().read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        # The value is not repeated: it may be a key in the wrong quotes.
        raise SettingsError(f"{name} is neither JSON that begins with {{ nor a readable file") from error


def port(env: FileAwareEnv) -> int:
    number = _checked("PORT", _PORT, lambda: int(env.str("PORT", "8000")))
    if not 1 <= number <= 65535:
        raise SettingsError(f"PORT is {number}; expected {_PORT}")
    return number


def _minutes(env: FileAwareEnv, name: str, default: int) -> timedelta:
    expected = "a whole number of minutes from 1 to 1440"
    minutes = _checked(name, expected, lambda: int(env.str(name, str(default))))
    if not 1 <= minutes <= 1440:
        raise SettingsError(f"{name} is {minutes}; expected {expected}")
    return timedelta(minutes=minutes)


def _percent(env: FileAwareEnv, name: str, default: int) -> int:
    expected = "a whole number of per cent from 0 to 100"
    percent = _checked(name, expected, lambda: int(env.str(name, str(default))))
    if not 0 <= percent <= 100:
        raise SettingsError(f"{name} is {percent}; expected {expected}")
    return percent


def _price(env: FileAwareEnv, name: str) -> str:
    """An amount and a currency, or nothing."""
    words = env.str(name, "").split()
    if words and not (len(words) == 2 and _AMOUNT.match(words[0]) and _CURRENCY.match(words[1])):
        raise SettingsError(f"{name} is not understood; expected an amount and a currency, as 12.00 EUR")
    return " ".join(words)


def _dsn(env: FileAwareEnv) -> Secret | None:
    """As Sentry's project settings show it: https://docs.sentry.io/concepts/key-terms/dsn-explainer/."""
    if not env.str("SENTRY_DSN", ""):
        return None
    expected = "a DSN as https://KEY@HOST/PROJECT"
    production = env.str("MUSTER_ENVIRONMENT", "") == "production"
    value = _url(env, "SENTRY_DSN", None, {"https"} if production else {"http", "https"})
    parts = urlsplit(value)
    if not (parts.username and parts.hostname and parts.path.rpartition("/")[2].isdecimal()):
        raise SettingsError(f"SENTRY_DSN is not {expected}, its project a number")
    return Secret(value)


def _log_level(env: FileAwareEnv) -> str:
    level = env.str("LOG_LEVEL", "info").lower()
    if level not in LOG_LEVELS:
        raise SettingsError(f"LOG_LEVEL is {level!r}; expected one of {', '.join(LOG_LEVELS)}")
    return level


def _proxies(env: FileAwareEnv) -> tuple[str, ...]:
    words = _words(env, "TRUSTED_PROXIES")
    for word in words:
        parse = partial(ipaddress.ip_network, word)
        _checked("TRUSTED_PROXIES", f"addresses or networks, not {word!r}", parse)
    return words


def _checked(name: str, expected: str, parse: Callable[[], T]) -> T:
    try:
        return parse()
    except ValueError as error:
        raise SettingsError(f"{name} is not understood; expected {expected}") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _shown(value: object) -> str:
    match value:
        case Secret():
            return "(hidden)" if value else "(not set)"
        case tuple():
            return ", ".join(_shown(item) for item in value) or "(none)"
        case timedelta():
            return f"{value.total_seconds() / 60:.0f}"
        case _:
            return str(value or "(not set)")


def _without_password(value: str) -> str:
    """The address without what opens it; its query goes too, since a password may stand there."""
    parts = urlsplit(value)
    port = f":{parts.port}" if parts.port else ""
    who = f"{parts.username or ''}:***@" if parts.password else ""
    return f"{parts.scheme}://{who}{parts.hostname or ''}{port}{parts.path}"
