"""Every object, made once from Settings, and opened and closed in order."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx2

from muster.access.account import Accounts
from muster.access.account_page import AccountPages
from muster.access.audit_log import AuditLog
from muster.access.audit_page import AuditPages
from muster.access.browser_reports import BrowserReports
from muster.access.front_door import FrontDoor
from muster.access.gate import Gate, Site
from muster.access.google_signin import GoogleSignIn
from muster.access.jobs import AccessJobs
from muster.access.probe_account import ProbeAccount
from muster.access.probes import AccessProbes
from muster.access.rights import RightsBook
from muster.access.role_book import RoleBook
from muster.access.role_grants import RoleGrants
from muster.access.role_page import RolePages
from muster.access.second_look import SecondLook
from muster.access.session_pages import SessionPages
from muster.access.settings_page import SettingsPage
from muster.access.tokens import Tokens
from muster.access.web import AccessPages
from muster.crm.board import BoardPage
from muster.crm.catalogue import Catalogues
from muster.crm.doctor import HubSpotDoctor
from muster.crm.doctor import SetUp as HubSpotSetUp
from muster.crm.editing import Editing
from muster.crm.hook import HubSpotHook
from muster.crm.hubspot import HubSpot
from muster.crm.hubspot_api import HubSpotApi
from muster.crm.jobs import CrmJobs
from muster.crm.lists import Lists
from muster.crm.lists_api import CustomersApi
from muster.crm.lists_web import ListPages
from muster.crm.meter import Meter
from muster.crm.mirror import Mirror
from muster.crm.owners import Owners
from muster.crm.owners_web import OwnerPages
from muster.crm.pace import Pace
from muster.crm.portfolio import Portfolios
from muster.crm.probes import CrmProbes
from muster.crm.rereads import Rereads as CrmRereads
from muster.crm.sync import CrmSync
from muster.crm.sync_log import SyncLog as CrmSyncLog
from muster.crm.syncs_web import CrmSyncPages
from muster.crm.views import Views
from muster.dashboard.dashboard import Dashboard
from muster.dashboard.metrics import Metrics
from muster.dashboard.probes import HookProbes
from muster.dashboard.snapshots import Snapshots
from muster.jobs import desk as jobs_desk
from muster.people.api import PeopleApi
from muster.people.changes_web import ChangePages
from muster.people.chart import Chart
from muster.people.directory_copy import DirectoryCopy
from muster.people.doctor import GoogleDoctor, SetUp
from muster.people.google_api import Credentials, GoogleApi
from muster.people.google_directory import GoogleDirectory
from muster.people.group_sync import GroupSync
from muster.people.groups import Groups
from muster.people.groups_web import GroupPages
from muster.people.held_people import HeldPeople
from muster.people.history import History
from muster.people.hook import PushHook
from muster.people.jobs import PeopleJobs
from muster.people.nesting import Nesting, group_ids_of
from muster.people.org_units import OrgUnits
from muster.people.org_web import OrgPages
from muster.people.photos import Photos
from muster.people.probes import PeopleProbes
from muster.people.push import PushChannels
from muster.people.removals import Removals
from muster.people.removals_web import RemovalPages
from muster.people.reporting import ReportingLines
from muster.people.rereads import Rereads
from muster.people.roster import Roster
from muster.people.standing import Standings, why_kept_out
from muster.people.sync import PeopleSync
from muster.people.sync_log import SyncLog
from muster.people.syncs_web import SyncPages
from muster.people.throttle import Throttle
from muster.people.web import PeoplePages
from muster.platform import outbound, redis
from muster.platform.addresses import is_loopback
from muster.platform.busts import Busts
from muster.platform.cache import Cache
from muster.platform.cache_probes import CacheProbes
from muster.platform.csrf import Csrf
from muster.platform.database import Database
from muster.platform.error_reports import ErrorReports
from muster.platform.heartbeat import Heartbeats
from muster.platform.openapi import OpenApi
from muster.platform.pages import Pages
from muster.platform.probes import CanaryProbe, DatabaseProbes, HeaderProbe, RedisProbes
from muster.platform.queue import Job, Queues
from muster.platform.queue_desk import QueueDesk
from muster.platform.queue_probes import QueueProbes
from muster.platform.redaction import Redaction
from muster.platform.redis import Redis
from muster.platform.rights_cache import RightsCache
from muster.platform.routes import Route, unique
from muster.platform.sessions import Sessions
from muster.platform.telemetry_probes import ErrorProbe, LogProbe
from muster.platform.tracing import Tracing
from muster.platform.vault import Vault
from muster.readiness.alerting import Alerting
from muster.readiness.drills import Drills
from muster.readiness.figures import Figures
from muster.readiness.health import Components, Health
from muster.readiness.health_pages import HealthPages
from muster.readiness.health_probe import HealthProbe
from muster.readiness.jobs import CANARY, ReadinessJobs
from muster.readiness.proofs import Proofs
from muster.readiness.status import Status
from muster.readiness.status_page import StatusPage
from muster.readiness.watch import Watch
from muster.readiness.web import ChecklistPages
from muster.settings import MEANINGS, OWNER, Secret, Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Portal:
    """Muster, put together. The entry points and the tests take from it what they run."""

    settings: Settings
    database: Database
    redis: Redis
    cache: Cache
    busts: Busts
    http: httpx2.AsyncClient
    queues: Queues
    desk: QueueDesk
    sessions: Sessions
    heartbeats: Heartbeats
    accounts: Accounts
    rights: RightsBook
    grants: RoleGrants
    role_book: RoleBook
    second_look: SecondLook
    tokens: Tokens
    audit_log: AuditLog
    directory: GoogleDirectory
    sync: PeopleSync
    groups: GroupSync
    rereads: Rereads
    removals: Removals
    push: PushChannels
    mirror: Mirror
    catalogues: Catalogues
    owners: Owners
    metrics: Metrics
    snapshots: Snapshots
    editing: Editing
    lists: Lists
    hubspot: HubSpot
    meter: Meter
    crm_sync: CrmSync
    crm_rereads: CrmRereads
    google_doctor: GoogleDoctor
    hubspot_doctor: HubSpotDoctor
    drills: Drills
    proofs: Proofs
    health: Health
    health_pages: HealthPages
    reports: ErrorReports | None
    alerting: Alerting
    watch: Watch
    pages: Pages
    gate: Gate
    routes: tuple[Route, ...]
    jobs: tuple[Job, ...]


@asynccontextmanager
async def portal(settings: Settings, *, application: str) -> AsyncIterator[Portal]:
    """The portal, opened; `application` is how PostgreSQL names its connections.

    Servers that are away do not keep it from opening: what needs them says so when it is asked.
    """
    made = make(settings, application=application)
    with made.reports or nullcontext(), _tracing(settings, application) or nullcontext():
        await made.database.open()
        try:
            yield made
        finally:
            await _close(made)


async def _close(made: Portal) -> None:
    await made.rights.close()
    await made.meter.close()
    await made.http.aclose()
    await made.queues.close()
    await made.desk.close()
    await made.cache.close()
    await made.redis.aclose()
    await made.database.close()


def make(settings: Settings, *, application: str) -> Portal:  # noqa: PLR0915  everything is made here, once
    database = Database(settings.database_url.reveal(), application=application)
    client = redis.connect(settings.redis_url.reveal())
    cache_client = redis.connect_briefly(settings.cached_at.reveal())
    cache = Cache(cache_client)
    busts = Busts(database, cache)
    queues, desk = Queues(settings.redis_url.reveal()), QueueDesk(settings.redis_url.reveal(), client)
    http, reports = outbound.client(_destinations(settings)), _reports(settings, application)
    sessions, drills = Sessions(client, idle=settings.session_idle), Drills(database)
    heartbeats = Heartbeats(database)
    queue_probes = QueueProbes(client, queues, heartbeats)
    rights = RightsBook(database, RightsCache(client), busts, groups_of=group_ids_of)
    accounts = Accounts(
        database, sessions, rights, admin_emails=settings.admin_emails, why_kept_out=why_kept_out
    )
    grants = RoleGrants(
        database,
        rights,
        admin_emails=settings.admin_emails,
        allowed_domains=settings.allowed_domains,
    )
    role_book = RoleBook(database, groups_of=group_ids_of)
    second_look = SecondLook(database, role_book, grants)
    tokens, audit_log, probe_account = (
        Tokens(database, rights),
        AuditLog(database),
        ProbeAccount(database, rights),
    )
    key, fallbacks = settings.secret_key.reveal(), [one.reveal() for one in settings.secret_key_fallbacks]
    google = GoogleSignIn(
        http,
        client,
        Vault(key, fallbacks),
        issuer=settings.google_issuer,
        client_id=settings.google_client_id,
        client_secret=settings.google_client_secret.reveal(),
        allowed_domains=settings.allowed_domains,
    )
    credentials = Credentials(
        http,
        service_account=settings.google_service_account.reveal() if settings.google_service_account else None,
        admin_email=settings.google_admin_email,
    )
    directory = GoogleDirectory(
        GoogleApi(http, credentials, Throttle()),
        base_url=settings.google_directory_url,
        customer=settings.google_customer,
    )
    meter = Meter(database)
    hubspot = HubSpot(
        HubSpotApi(
            http,
            base_url=settings.hubspot_url,
            token=settings.hubspot_token.reveal() if settings.hubspot_token else None,
            pace=Pace(cache_client),
            meter=meter,
        )
    )
    mirror = Mirror(database, busts)
    crm_sync, crm_rereads = (
        CrmSync(database, hubspot, mirror, busts),
        CrmRereads(database, hubspot, mirror),
    )
    crm_jobs = CrmJobs(
        database,
        crm_sync,
        crm_rereads,
        queues,
        every=settings.crm_sync_every,
        has_hubspot=settings.has_hubspot,
    )
    secret = settings.hubspot_webhook_secret.reveal() if settings.hubspot_webhook_secret else None
    forms = Csrf(key, fallbacks)
    site = Site(public_url=settings.public_url, development=settings.environment == "development")
    alerting = Alerting(
        database,
        client,
        http,
        queues,
        audit_log,
        urls=[one.reveal() for one in settings.alert_urls],
        key=key,
        heartbeat_url=settings.heartbeat_url.reveal() if settings.heartbeat_url else "",
        home=settings.home,
        public_url=settings.public_url,
        is_sandbox=settings.is_sandbox,
    )
    pages = Pages(
        forms,
        sandbox=settings.is_sandbox,
        unset=() if settings.has_hubspot else ("HUBSPOT_TOKEN",),
        alarm=alerting.alarm,
    )
    copy = DirectoryCopy(database, accounts, busts)
    removals = Removals(database, copy, percent=settings.people_removal_percent)
    rereads = Rereads(database, directory, copy, removals)
    push = PushChannels(database, directory, address=_push_address(settings))
    sync = PeopleSync(database, directory, copy, removals, accounts, push, busts)
    groups = GroupSync(database, directory, copy, busts, members_changed=rights.members_changed)
    roster, history, lines, nesting = (
        Roster(database),
        History(database),
        ReportingLines(database),
        Nesting(database),
    )
    people_jobs = PeopleJobs(sync, groups, rereads, push, queues, every=settings.people_sync_every)
    catalogues, who_is = Catalogues(database, cache), Standings(database).who_is
    owners = Owners(database, cache, who_is)
    lists = Lists(database, cache, owners, who_is, synced_at=crm_sync.synced_at)
    editing = Editing(database, cache, busts, mirror, hubspot, catalogues, owners, lists, queues)
    dashboard = Dashboard(database, cache, busts, owners, catalogues, seat_price=settings.seat_price)
    health = Health(
        Components(
            database,
            client,
            cache_client,
            queues,
            people_every=settings.people_sync_every,
            customers_every=settings.crm_sync_every if settings.has_hubspot else None,
        ).declared()
    )
    proofs = Proofs(
        database,
        [
            *alerting.probes(),
            *DatabaseProbes(database).probes(),
            *RedisProbes(client, sessions, cache=cache_client if settings.cache_redis_url else None).probes(),
            *CacheProbes(cache, Cache(cache_client), busts, database, redis=client).probes(),
            *HookProbes(Cache(cache_client), database, copy, mirror, probe_account).probes(),
            *CanaryProbe(queues, CANARY).probes(),
            *queue_probes.probes(),
            *drills.probes(),
            *HeaderProbe(http, settings.public_url).probes(),
            *HealthProbe(
                http, health, public_url=settings.public_url, metrics_token=_revealed(settings.metrics_token)
            ).probes(),
            *LogProbe().probes(),
            *ErrorProbe(reports, http, sandbox=_sentry_of_the_sandbox(settings)).probes(),
            *FrontDoor(http, sessions, google, site, probe_account=probe_account).probes(),
            *AccessProbes(
                database,
                google,
                audit_log,
                rights,
                role_book,
                probe_account,
                allowed_domains=settings.allowed_domains,
                admin_emails=settings.admin_emails,
            ).probes(),
            *PeopleProbes(
                database,
                directory,
                sync,
                groups,
                rereads,
                removals,
                push,
                accounts,
                every=settings.people_sync_every,
            ).probes(),
            *CrmProbes(
                http,
                hubspot,
                crm_sync,
                crm_rereads,
                meter,
                editing.edits.rows,
                every=settings.crm_sync_every,
                public_url=settings.public_url,
                secret=secret,
                has_hubspot=settings.has_hubspot,
            ).probes(),
        ],
    )
    health_pages = HealthPages(
        health,
        Figures(
            database,
            queues,
            heartbeats,
            sessions,
            proofs,
            health,
            role=application.removeprefix("muster-"),
            has_hubspot=settings.has_hubspot,
        ),
        metrics_token=_revealed(settings.metrics_token),
    )
    access = AccessPages(
        database,
        accounts,
        google,
        sessions,
        pages,
        site,
        company=", ".join(settings.allowed_domains),
        look_again=people_jobs.look_again,
    )
    watch, api = alerting.watch(proofs), OpenApi()
    routes = unique(
        [
            *health_pages.routes(),
            *StatusPage(Status(health, database, has_hubspot=settings.has_hubspot), pages).routes(),
            *access.routes(),
            *dashboard.routes(removals, pages, checklist=proofs.tally),
            *ChangePages(history, sync, pages).routes(),
            *SyncPages(
                SyncLog(database),
                sync,
                groups,
                people_jobs,
                push,
                rereads,
                removals,
                pages,
                sync_every=settings.people_sync_every,
            ).routes(),
            *RemovalPages(HeldPeople(database), removals, sync, pages).routes(),
            *OrgPages(OrgUnits(database), Chart(database), sync, pages).routes(),
            *GroupPages(Groups(database, company_domains=settings.allowed_domains), groups, pages).routes(),
            *PeopleApi(roster, history, lines, nesting).routes(),
            # Behind the others, whose addresses its /people/{id} would take.
            *PeoplePages(
                roster,
                sync,
                removals,
                pages,
                history=history,
                lines=lines,
                nesting=nesting,
                photos=Photos(directory.impatient(), cache),
                deals=Portfolios(database, owners, catalogues, cache).of,
            ).routes(),
            *editing.routes(pages, refresh=crm_rereads.refresh, has_hubspot=settings.has_hubspot),
            *PushHook(push, people_jobs).routes(),
            *CrmSyncPages(
                CrmSyncLog(database),
                crm_sync,
                crm_rereads,
                crm_jobs,
                meter,
                pages,
                sync_every=settings.crm_sync_every,
                has_hubspot=settings.has_hubspot,
                has_webhooks=secret is not None,
            ).routes(),
            *HubSpotHook(
                database, crm_rereads, mirror, crm_jobs, secret=secret, public_url=settings.public_url
            ).routes(),
            *ListPages(
                lists, Views(database), owners, catalogues, pages, has_hubspot=settings.has_hubspot
            ).routes(),
            *BoardPage(lists, owners, catalogues, pages, has_hubspot=settings.has_hubspot).routes(),
            *OwnerPages(owners, lists, pages, has_hubspot=settings.has_hubspot).routes(),
            *CustomersApi(lists, owners, catalogues).routes(),
            *jobs_desk.routes(database, desk, heartbeats, pages),
            *ChecklistPages(database, proofs, pages, alerts=alerting.book.open_by_subject).routes(),
            *alerting.routes(watch, pages),
            *AccountPages(database, sessions, tokens, pages, site).routes(),
            *SessionPages(database, sessions, tokens, rights, pages).routes(),
            *RolePages(role_book, grants, second_look, database, pages).routes(),
            *BrowserReports(database, pages).routes(),
            *SettingsPage(
                database,
                pages,
                reports,
                shown=settings.shown() | {OWNER: "(kept from this process)"},
                environment=settings.environment,
                meanings=MEANINGS,
            ).routes(),
            *AuditPages(audit_log, database, pages).routes(),
            *api.routes(),
            *access.last_routes(),
        ]
    )
    jobs = (
        *people_jobs.jobs(),
        *crm_jobs.jobs(),
        *AccessJobs(accounts, rights, audit_log).jobs(),
        *editing.jobs(),
        *busts.jobs(),
        *dashboard.jobs(),
        *ReadinessJobs(proofs).jobs(),
    )
    queue_probes.expect(jobs)
    pages.navigate(routes)
    tokens.open(routes)
    api.describe(routes, session_cookie=site.session_cookie)
    return Portal(
        settings=settings,
        database=database,
        redis=client,
        cache=cache,
        busts=busts,
        http=http,
        queues=queues,
        desk=desk,
        sessions=sessions,
        heartbeats=heartbeats,
        accounts=accounts,
        rights=rights,
        grants=grants,
        role_book=role_book,
        second_look=second_look,
        tokens=tokens,
        audit_log=audit_log,
        directory=directory,
        sync=sync,
        groups=groups,
        rereads=rereads,
        removals=removals,
        push=push,
        mirror=mirror,
        catalogues=catalogues,
        owners=owners,
        metrics=dashboard.metrics,
        snapshots=dashboard.snapshots,
        editing=editing,
        lists=lists,
        hubspot=hubspot,
        meter=meter,
        crm_sync=crm_sync,
        crm_rereads=crm_rereads,
        google_doctor=GoogleDoctor(http, _google_set_up(settings), google, push),
        hubspot_doctor=HubSpotDoctor(hubspot, meter, _hubspot_set_up(settings)),
        drills=drills,
        proofs=proofs,
        health=health,
        health_pages=health_pages,
        reports=reports,
        alerting=alerting,
        watch=watch,
        pages=pages,
        gate=Gate(sessions, rights, tokens, forms, site),
        routes=routes,
        jobs=jobs,
    )


def _google_set_up(settings: Settings) -> SetUp:
    key = settings.google_service_account
    return SetUp(
        service_account=None if key is None else key.reveal(),
        admin_email=settings.google_admin_email,
        customer=settings.google_customer,
        directory_url=settings.google_directory_url,
        client_id=settings.google_client_id,
        public_url=settings.public_url,
        is_sandbox=settings.is_sandbox,
    )


def _hubspot_set_up(settings: Settings) -> HubSpotSetUp:
    return HubSpotSetUp(
        has_token=settings.has_hubspot,
        has_webhook_secret=bool(settings.hubspot_webhook_secret),
        url=settings.hubspot_url,
        public_url=settings.public_url,
        is_sandbox=is_loopback(urlsplit(settings.hubspot_url).hostname or ""),
    )


def _revealed(secret: Secret | None) -> str | None:
    return secret.reveal() if secret else None


def _reports(settings: Settings, application: str) -> ErrorReports | None:
    if not settings.sentry_dsn:
        return None
    return ErrorReports(
        settings.sentry_dsn.reveal(),
        redaction=Redaction(settings.secrets(), emails=True),
        environment=settings.environment,
        process=application,
    )


def _tracing(settings: Settings, application: str) -> Tracing | None:
    if not settings.otlp_endpoint:
        return None
    return Tracing(
        settings.otlp_endpoint,
        redaction=Redaction(settings.secrets(), emails=True),
        environment=settings.environment,
        process=application,
    )


def _sentry_of_the_sandbox(settings: Settings) -> str:
    """Where errors are reported to, if that can be asked what arrived; "" otherwise."""
    parts = urlsplit(settings.sentry_dsn.reveal() if settings.sentry_dsn else "")
    is_there = settings.is_sandbox and is_loopback(parts.hostname or "")
    return f"{parts.scheme}://{parts.hostname}:{parts.port}" if is_there else ""


def _push_address(settings: Settings) -> str | None:
    """Where Google's push reaches the portal: over HTTPS alone, but for the sandbox on this machine."""
    return f"{settings.public_url}/hooks/google" if settings.is_https or settings.is_sandbox else None


def _destinations(settings: Settings) -> Sequence[outbound.Destination]:
    """Every place that Muster itself may ask."""
    google = ["https://oauth2.googleapis.com", "https://www.googleapis.com"]
    is_development = settings.environment == "development"
    return [
        *(
            outbound.named(url, is_development=is_development)
            for url in (
                settings.google_issuer,
                settings.google_directory_url,
                *([] if settings.is_sandbox else google),
                *([settings.hubspot_url] if settings.has_hubspot else []),
                *filter(None, [_sentry_of_the_sandbox(settings)]),
            )
        ),
        # Wherever the operator has put them.
        *(
            [outbound.Destination(url=settings.heartbeat_url.reveal(), may_be_private=True)]
            if settings.heartbeat_url
            else []
        ),
        outbound.Destination(url=settings.public_url, may_be_private=True),
    ]
