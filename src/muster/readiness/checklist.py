"""Every promise Muster makes of the system it runs in; each has a probe, and each probe a promise."""
# ruff: noqa: E501  a promise stands on one line

from datetime import timedelta

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One promise. `half_life` is how long a proof of it counts; `survives` names the crash it is about."""

    id: str
    group: str
    title: str
    promise: str
    remedy: str
    half_life: timedelta = timedelta(minutes=3)
    survives: str | None = None


DATABASE, REDIS, CACHE, JOBS = "PostgreSQL", "Redis", "Cache", "Jobs and workers"
DIRECTORY, ACCESS = "Workspace directory", "Sign-in and security"
HUBSPOT = "HubSpot"
HEALTH = "Health and metrics"
LOGS = "Logs and errors"
ALERTING = "Alerting"

ROWS = (
    Row(
        id="postgresql.answers",
        group=DATABASE,
        title="Pool and health",
        promise="A query through the pool is answered, and nobody waits in line for a connection.",
        remedy="See whether the server of DATABASE_URL runs, takes connections and is no replica; `muster config` "
        "shows the address. If callers wait in line, the pool or the server is too small for the load.",
    ),
    Row(
        id="postgresql.durable",
        group=DATABASE,
        title="Commits are kept",
        promise="What was committed is on disk: fsync, full_page_writes and synchronous_commit are on.",
        remedy="Set fsync, full_page_writes and synchronous_commit to on (ALTER SYSTEM SET …; SELECT "
        "pg_reload_conf();), and see that neither the role nor the database overrides them.",
        survives="power loss",
    ),
    Row(
        id="postgresql.least_privilege",
        group=DATABASE,
        title="Database role",
        promise="The role of DATABASE_URL is no superuser, owns nothing, may create nothing that lasts, neither replicates nor bypasses row security, and can neither change nor delete an entry of the audit log.",
        remedy="Give the portal a role of its own: put the address of the tables' owner into DATABASE_OWNER_URL, that of another role into DATABASE_URL, and run `muster migrate`, which makes the role and grants it what it needs.",
    ),
    Row(
        id="postgresql.migrated",
        group=DATABASE,
        title="Tables of this release",
        promise="The database's tables are those this release was written for.",
        remedy="Run `muster migrate`, with the address of the tables' owner in DATABASE_OWNER_URL.",
    ),
    Row(
        id="redis.persistence",
        group=REDIS,
        title="Persistence",
        promise="Every write goes to the append-only file; where the server tells, on disk within a second.",
        remedy="If it does not answer, see whether the server of REDIS_URL runs and is reached from here; `muster "
        "config` shows the address. Else set appendonly yes and appendfsync everysec (or always), in its configuration "
        "or the provider's console. If the last write failed, look for a full disk.",
        survives="process kill; power loss but for the last second",
    ),
    Row(
        id="redis.policy",
        group=REDIS,
        title="Nothing is evicted",
        promise="No session or job is thrown away to make room: maxmemory-policy is noeviction, and there is room.",
        remedy="Set maxmemory-policy noeviction. If memory is short, give the cache a server of its own.",
    ),
    Row(
        id="redis.prefixes",
        group=REDIS,
        title="Key namespaces",
        promise="Every key begins with sess:, cache: or queue:, and nothing else shares the database.",
        remedy="Find who writes the named keys; give them a Redis or a database number of their own.",
    ),
    Row(
        id="cache.bounds",
        group=CACHE,
        title="Bounds of the cache",
        promise="Every key of the cache is of a declared kind and ends within 5 to 60 minutes, and all together stay within their bound.",
        remedy="Find who writes the named keys: nothing but Muster may write under cache:. DEL them; what they held is read anew.",
    ),
    Row(
        id="cache.busts",
        group=CACHE,
        title="Nothing outdated is shown",
        promise="A change is seen by every reader within 2 s, a reading that comes late is not kept, and no bust has waited for a minute.",
        remedy="See that a worker takes the queue `upkeep` (workers.alive), which tells the cache again every few seconds. Until it is understood, empty the cache: redis-cli DEL cache:seq.",
    ),
    Row(
        id="cache.hooks",
        group=CACHE,
        title="Changes end what is cached",
        promise="A change of a person, of a customer's record or of a role ends what is cached of it within 2 s, and is written down so that a crash loses none of it.",
        remedy="Change people, records and roles through Muster, never in its tables. See that PostgreSQL takes rows into cache_busts and Redis takes scripts (cache.busts), and that all processes have the same REDIS_URL.",
    ),
    Row(
        id="sessions.stored",
        group=ACCESS,
        title="Sessions",
        promise="A session is kept under sess:, ends within 24 hours, and once ended opens nothing.",
        remedy="See that Redis takes writes: that it is no replica and waits for none that it lacks (min-replicas-to-write); and that nothing else changes keys under sess:.",
    ),
    Row(
        id="signin.discovery",
        group=ACCESS,
        title="Google sign-in",
        promise="Google's sign-in can be reached, publishes its keys, and knows this portal as its client.",
        remedy="See that GOOGLE_ISSUER is reached from here, and that GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are those of the OAuth client.",
    ),
    Row(
        id="access.offboarded",
        group=ACCESS,
        title="Leavers are out",
        promise="Whoever is suspended, archived or gone in the directory has no open account, no role and no session.",
        remedy="See that a worker takes the queue `upkeep` (workers.alive), which ends sessions every half minute, and run `muster sync people`.",
    ),
    Row(
        id="web.headers",
        group=ACCESS,
        title="Security headers",
        promise="A page served at PUBLIC_URL carries every protective header, with a fresh script nonce.",
        remedy="See that the web runs (`muster web`; its log names what fails), that PUBLIC_URL leads to it, and whether a proxy before it strips or rewrites headers.",
    ),
    Row(
        id="access.roles",
        group=ACCESS,
        title="Role changes",
        promise="A role that is given or taken counts from the next request on; nobody's cached rights differ from the database.",
        remedy="Change roles on /admin/roles or with `muster roles`, never in the tables. See that a worker takes the queue `upkeep`, which tells the cache of what a process that died could not.",
    ),
    Row(
        id="access.admins",
        group=ACCESS,
        title="Somebody is admin",
        promise="At least one person who may sign in decides who may do what, or will as soon as they do.",
        remedy="Name an address in ADMIN_EMAILS and have its owner sign in, or run `muster roles grant ADDRESS admin` where the servers are reached.",
    ),
    Row(
        id="audit.chained",
        group=ACCESS,
        title="Audit log",
        promise="Every entry of the audit log is sealed to the one before; none was changed, removed or slipped in.",
        remedy="Somebody wrote to the audit log behind Muster's back. Keep a copy of the database as it is, compare with the last backup, and see who had its owner's password.",
    ),
    Row(
        id="web.csrf",
        group=ACCESS,
        title="Forged requests",
        promise="A request that another site had a browser send is refused, and a session that was ended opens nothing.",
        remedy="See whether a proxy before Muster drops or rewrites Origin, Sec-Fetch-Site or cookies, and that every web process has the same SECRET_KEY.",
    ),
    Row(
        id="web.limits",
        group=ACCESS,
        title="Rate limits",
        promise="Requests are counted over all processes together, told of in RateLimit, and refused beyond the limit.",
        remedy="See that web and worker have the same REDIS_URL, and that no proxy before Muster keeps pages or strips the RateLimit headers.",
    ),
    Row(
        id="signin.refuses",
        group=ACCESS,
        title="Hostile sign-ins",
        promise="Whoever comes back from Google with a false state, code, browser or token is refused and has no session.",
        remedy="Take the portal out of reach until it is understood: somebody may come in as somebody else. See what stands before Muster, and what the evidence names.",
    ),
    Row(
        id="health.answers",
        group=HEALTH,
        title="Health and metrics",
        promise="At PUBLIC_URL the portal says that it is alive, how each part it stands on is doing, and its figures, and what it says is true, fresh and told to nobody else.",
        remedy="See that PUBLIC_URL leads to the web of this release, that no proxy answers or keeps /livez, /readyz and /metrics, and that web and worker have the same METRICS_TOKEN.",
    ),
    Row(
        id="jobs.canary",
        group=JOBS,
        title="Queue",
        promise="A job that is added to BullMQ is run by a worker within seconds.",
        remedy="See that a worker runs (workers.alive) and takes the queue `upkeep`; its log names what fails.",
    ),
    Row(
        id="workers.alive",
        group=JOBS,
        title="Worker process",
        promise="A dedicated worker of this release lives, every queue is taken by one, and all of them work on this portal's Redis.",
        remedy="Start one with `muster worker`. If versions differ, finish the deployment. One that works elsewhere needs this portal's REDIS_URL.",
    ),
    Row(
        id="jobs.backlog",
        group=JOBS,
        title="Nothing waits",
        promise="The oldest waiting job of each queue waits for less than five minutes, and no queue is paused.",
        remedy="Resume a queue that is paused. If jobs wait though workers live (workers.alive), start more workers, or see which jobs take so long.",
    ),
    Row(
        id="jobs.failed",
        group=JOBS,
        title="Failed jobs",
        promise="No job failed for good within the hour without having run since, and none loses its workers again and again.",
        remedy="The worker's log names why (job_failed). Mend that, then have the job run again, or discard it.",
    ),
    Row(
        id="jobs.schedules",
        group=JOBS,
        title="Schedules",
        promise="Every job with a schedule has its next turn in Redis and is run on time; nothing else is scheduled.",
        remedy="A worker of this release puts its schedules in place when it starts: restart the workers. If turns are late, see workers.alive and jobs.backlog.",
    ),
    Row(
        id="jobs.survive",
        group=JOBS,
        title="No job is lost",
        promise="Every job's effect is there exactly once though its worker is killed in mid job, and Redis with it.",
        remedy="Read what the drill said and the log of its workers, then run it again: `muster drill jobs`. A proof counts for one release.",
        half_life=timedelta(days=90),
        survives="process kill of workers and of Redis",
    ),
    Row(
        id="directory.reachable",
        group=DIRECTORY,
        title="Google Admin API",
        promise="The service account gets a token for each scope, and reads people, groups, members and org units.",
        remedy="Run `muster doctor`: it walks the set-up step by step and says what to click where.",
    ),
    Row(
        id="directory.fresh",
        group=DIRECTORY,
        title="Directory sync",
        promise="The directory was read to its end within the last three turns of its schedule, and shown to be whole within two days.",
        remedy="Open /people/syncs for the reason of the last run; run one with `muster sync people`.",
    ),
    Row(
        id="directory.groups",
        group=DIRECTORY,
        title="Groups sync",
        promise="Groups were read to the end within the last three turns, and the members of every group at least once.",
        remedy="Open /people/syncs for the reason of the last groups run; the scopes group and group.member must be delegated.",
    ),
    Row(
        id="directory.push",
        group=DIRECTORY,
        title="Push from Google",
        promise="Google tells of every change at once: each event has a live channel, and the last listing found nothing it had kept back.",
        remedy="See that Google reaches PUBLIC_URL/hooks/google from outside. Channels are opened anew every half minute where one fails; no change is lost meanwhile, only late.",
    ),
    Row(
        id="directory.quota",
        group=DIRECTORY,
        title="Quota at Google",
        promise="The syncs stay within Google's quota: none of the last runs spent half of its time waiting for it.",
        remedy="See /people/syncs for which calls were refused. Raise PEOPLE_SYNC_MINUTES, or ask Google for more queries a minute in the project's quota page.",
    ),
    Row(
        id="directory.removals",
        group=DIRECTORY,
        title="Held removals",
        promise="A removal too large to be believed unasked is decided within a day.",
        remedy="Open /people/removals and release or reject it.",
    ),
    Row(
        id="hubspot.reachable",
        group=HUBSPOT,
        title="HubSpot API",
        promise="HubSpot answers, accepts the token, and lets it use every scope that is needed.",
        remedy="Run `muster doctor`: it walks the set-up step by step and says what to click where.",
    ),
    Row(
        id="hubspot.fresh",
        group=HUBSPOT,
        title="HubSpot sync",
        promise="What changed in HubSpot was read within the last three turns, everything was listed within 36 hours, and that found nothing the turns had missed.",
        remedy="Open /crm/syncs for the reason of the last run; run one with `muster sync crm`, or list everything with `muster sync crm --full`.",
    ),
    Row(
        id="hubspot.allowance",
        group=HUBSPOT,
        title="Calls left today",
        promise="At least a tenth of the calls that HubSpot allows the account in a day is left.",
        remedy="See on /crm/syncs what Muster's own calls were for; other apps of the account may have used the rest. Raise CRM_SYNC_MINUTES, or buy more calls.",
    ),
    Row(
        id="hubspot.webhooks",
        group=HUBSPOT,
        title="Webhooks from HubSpot",
        promise="A message that HubSpot signed is taken once, at once; a forged, an old and a repeated one are refused; what was named is read again within five minutes.",
        remedy="See that PUBLIC_URL is the very address HubSpot calls, that no proxy before Muster changes bodies or drops X-HubSpot headers, and that a worker takes the queue `crm`.",
    ),
    Row(
        id="hubspot.written",
        group=HUBSPOT,
        title="Changes reach HubSpot",
        promise="What was changed here is in HubSpot within a quarter of an hour, or was refused, and whoever asked was told.",
        remedy="See hubspot.reachable and hubspot.allowance first, then that a worker takes the queue `crm` (workers.alive). Nothing is lost meanwhile: what waits is written once HubSpot takes it.",
    ),
    Row(
        id="logs.readable",
        group=LOGS,
        title="Log lines",
        promise="A line of the log has the fields that Pino's tools read, and no secret in any of them, be it in a message, a field, an error or a library's own line.",
        remedy="See what the evidence names: something that configures Python's logging beside Muster, or a form of secret that `platform/redaction.py` does not know. Until it is mended, let nobody read the log who may not read that.",
    ),
    Row(
        id="sentry.arrives",
        group=LOGS,
        title="Error reports",
        promise="An error is taken by the Sentry of SENTRY_DSN, and where that can be asked (the sandbox's) has arrived without the secrets that were planted in it.",
        remedy="See that SENTRY_DSN is that of a project that exists, that this machine reaches its host, and that the project's quota is not used up; then send one from /admin/settings. Errors are in the log meanwhile.",
    ),
    Row(
        id="alerts.watching",
        group=ALERTING,
        title="Somebody watches",
        promise="Every proof and figure is looked at each few minutes, so that what fails becomes an alert.",
        remedy="Start a worker with `muster worker`: each watches, and the web stands by. If one runs, its log names what broke under `watch_broke`.",
    ),
    Row(
        id="alerts.delivered",
        group=ALERTING,
        title="Alerts arrive",
        promise="Every channel of ALERT_URLS took the canary of the last day, and no message waits for one.",
        remedy="Name a channel in ALERT_URLS if there is none. Else see on /alerts what the channel answered: a token that was revoked, a mailbox that is full, an address that moved. Mend it there or in ALERT_URLS, then send a test.",
    ),
    Row(
        id="alerts.heartbeat",
        group=ALERTING,
        title="Dead-man switch",
        promise="The switch at HEARTBEAT_URL accepted the last ping, which is sent every five minutes.",
        remedy="See that HEARTBEAT_URL is the check's own address and is reached from the worker, and that the check is not paused or deleted there.",
    ),
)
