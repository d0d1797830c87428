"""The sandbox put together: every object made once, every part's routes."""

from datetime import timedelta
from pathlib import Path

from starlette.applications import Starlette
from starlette.types import ASGIApp

from acme.access_tokens import AccessTokens
from acme.accounts import Accounts
from acme.alert_sink import AlertSink
from acme.channels import Channels
from acme.clock import Clock
from acme.days import Days
from acme.deliveries import Deliveries
from acme.directory import ROOT, Directory
from acme.faults import Fault, Faults
from acme.gate import Gate
from acme.google_error import GoogleError, OAuthError, answer
from acme.groups import Groups
from acme.hubspot.house import HubSpot
from acme.id_tokens import IdTokens
from acme.identity import Identity, write_files
from acme.latency import Latency
from acme.listing import PageTokens
from acme.orders import Refused, refuse
from acme.page_cache import PageCache
from acme.photos import Photos
from acme.push import Push
from acme.push_scripting import PushScripting
from acme.quota import Quota
from acme.records import UserRecords
from acme.request_log import RequestLog, empty_log
from acme.safe import Safe
from acme.scripting import Scripting
from acme.seal import Seal
from acme.sentry import Sentry
from acme.service_account import ServiceAccount
from acme.sign_in import Grants, SignIn
from acme.tenant import AddressTaken, NobodyThere, Tenant
from acme.tokens import Tokens
from acme.user_pages import UserPages


def make_app(
    address: str,
    people: int,
    seed: int,
    home: Path,
    latency: timedelta,
    *,
    deals: int | None = None,
    with_hubspot_limits: bool = True,
    hubspot_webhooks_to: str | None = None,
) -> ASGIApp:
    """Writes what clients need into `home` on the way."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    safe = Safe(home)
    identity = Identity(address)
    sentry = Sentry(address)
    write_files(home, identity, safe, sentry_dsn=sentry.dsn)

    clock = Clock()
    seal = Seal(safe.secrets.seal)
    tenant = Tenant(people, seed, safe.secrets.today, clock)
    groups = Groups(tenant)
    days = Days(tenant, groups, clock, seed)
    records = UserRecords(address)
    accounts = Accounts(tenant, records)
    grants = Grants()
    access_tokens = AccessTokens(seal)
    id_tokens = IdTokens(identity, safe)
    service_account = ServiceAccount(identity, safe, tenant)
    faults: list[Fault] = []
    calls = empty_log()
    quota = Quota()
    gate = Gate(access_tokens, quota)
    deliveries = Deliveries()
    channels = Channels(address + ROOT, clock, deliveries)
    page_cache = PageCache()
    hubspot = HubSpot(
        address,
        tenant,
        clock,
        safe.secrets,
        seed,
        calls,
        deals=deals,
        with_limits=with_hubspot_limits,
        webhooks_to=hubspot_webhooks_to,
    )
    alert_sink = AlertSink()
    tenant.listeners += [channels, page_cache, hubspot, alert_sink]
    parts = (
        SignIn(identity, accounts, grants),
        Tokens(identity, safe, accounts, grants, access_tokens, id_tokens, service_account),
        Push(channels, gate),
        Photos(tenant, gate),
        Directory(tenant, groups, UserPages(tenant, records, page_cache), gate, PageTokens(seal, clock)),
        Scripting(tenant, groups, days, records, clock, safe, id_tokens, faults, calls, quota),
        PushScripting(channels, deliveries),
        sentry,
        alert_sink,
        hubspot,
    )
    app = Starlette(
        routes=[route for part in parts for route in part.routes()],
        exception_handlers={
            GoogleError: answer,
            OAuthError: answer,
            NobodyThere: refuse,
            AddressTaken: refuse,
            Refused: refuse,
        },
    )
    served = hubspot.behind_faults(Faults(app, faults))
    return RequestLog(Latency(served, latency.total_seconds()) if latency else served, calls)
