"""The metrics that Prometheus scrapes, each declared once.

Counters and histograms are of the process that answers. What ends in `_SYSTEM` is of the whole and the
same from each process, so a dashboard takes its max, never its sum. No label holds what somebody outside
may choose: routes, jobs, rows and hosts are those that are declared. None is called `job` or `instance`,
which Prometheus gives itself.
"""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each series began, which doubles the text and which nothing here reads

_SYSTEM = " Of the whole system, the same from each process: take the max."

BUILD = Gauge("muster_build_info", "The release this process runs; always 1.", ["version", "role"])
COMPONENT = Gauge(
    "muster_component_status", "How a component looks from this process: 1 at its status.", ["name", "status"]
)

REQUESTS = Counter("muster_http_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "muster_http_request_seconds",
    "Time to answer a request.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
IN_FLIGHT = Gauge("muster_http_requests_in_flight", "Requests that are being answered.")
LIMITED = Counter("muster_rate_limit_refusals_total", "Requests refused for being too many.", ["limit"])
SESSIONS = Gauge("muster_sessions", f"Sign-ins of the last 24 hours that were not ended by hand.{_SYSTEM}")

POOL_CONNECTIONS = Gauge("muster_database_pool_connections", "Connections of this process.", ["state"])
POOL_LARGEST = Gauge("muster_database_pool_max_connections", "Connections this process may open.")
POOL_REQUESTS = Counter("muster_database_pool_requests_total", "Times a connection was asked for.")
POOL_WAITED = Counter("muster_database_pool_wait_seconds_total", "Time spent waiting for a connection.")
POOL_FAILED = Counter("muster_database_pool_failures_total", "Times no connection was to be had.")
QUERIES = Counter("muster_database_queries_total", "Queries asked of PostgreSQL.")
QUERY_SECONDS = Counter("muster_database_query_seconds_total", "Time spent on those queries.")
REDIS_TRIPS = Counter("muster_redis_trips_total", "Trips to Redis.")
REDIS_SECONDS = Counter("muster_redis_trip_seconds_total", "Time spent on those trips.")
CACHE_EVENTS = Counter("muster_cache_events_total", "What the cache was asked and did.", ["event"])

CALLS = Counter("muster_vendor_calls_total", "Calls of other services.", ["host", "status"])
CALL_SECONDS = Histogram(
    "muster_vendor_call_seconds",
    "Time until another service began to answer.",
    ["host"],
    buckets=(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
)

JOB_SECONDS = Histogram(
    "muster_job_seconds",
    "Time a run of a job took.",
    ["name"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600),
)
JOB_RUNS = Counter("muster_job_runs_total", "Runs of jobs by how they ended.", ["name", "outcome"])
JOB_RETRIES = Counter("muster_job_retries_total", "Runs that were not the first attempt.", ["name"])
JOBS_STALLED = Counter("muster_jobs_stalled_total", "Jobs taken back from a worker that was lost.", ["queue"])
QUEUE_JOBS = Gauge("muster_queue_jobs", f"Jobs in the queue.{_SYSTEM}", ["queue", "state"])
QUEUE_OLDEST = Gauge(
    "muster_queue_oldest_waiting_seconds",
    f"Since the job that waits for longest was added, 0 where none waits.{_SYSTEM}",
    ["queue"],
)
QUEUE_WORKERS = Gauge("muster_queue_workers", f"Workers that take jobs of the queue.{_SYSTEM}", ["queue"])
SCHEDULE_LATE = Gauge(
    "muster_schedule_late_seconds",
    f"By how much the next run of a schedule is overdue, 0 where it is not.{_SYSTEM}",
    ["name"],
)
WORKERS = Gauge("muster_workers", f"Workers whose heartbeat is fresh.{_SYSTEM}")

PEOPLE = Gauge("muster_people", f"People in the directory.{_SYSTEM}", ["status"])
SYNC_CALLS = Gauge("muster_people_sync_calls", f"Calls of Google by the last run.{_SYSTEM}", ["kind"])
SYNC_FAULTS = Gauge("muster_people_sync_faults", f"Failures of the last run.{_SYSTEM}", ["kind", "reason"])
SYNC_WAITED = Gauge(
    "muster_people_sync_waited_seconds", f"Waited by the last run for the quota.{_SYSTEM}", ["kind"]
)
SYNC_DRIFT = Gauge(
    "muster_people_sync_drift", f"Changes that push should have told the last run of.{_SYSTEM}"
)
SYNC_AGE = Gauge("muster_people_sync_age_seconds", f"Since the last finished sync of the directory.{_SYSTEM}")
GROUPS_AGE = Gauge("muster_groups_sync_age_seconds", f"Since the last finished sync of groups.{_SYSTEM}")
PUSH_MESSAGES = Counter("muster_push_messages_total", "Messages of Google's push.", ["state"])

CUSTOMERS = Gauge("muster_customers", f"Records of HubSpot that are not archived.{_SYSTEM}", ["kind"])
CUSTOMERS_AGE = Gauge(
    "muster_customers_sync_age_seconds",
    f"Since a sync with HubSpot finished: of what changed, or of everything.{_SYSTEM}",
    ["way"],
)
CUSTOMERS_CALLS = Gauge("muster_customers_sync_calls", f"Calls of HubSpot by the last run.{_SYSTEM}", ["way"])
CUSTOMERS_DRIFT = Gauge(
    "muster_customers_sync_drift", f"What listing everything found that should have been known.{_SYSTEM}"
)
CUSTOMERS_WAITED = Gauge(
    "muster_customers_sync_waited_seconds", f"Waited by the last run for HubSpot's limits.{_SYSTEM}", ["way"]
)
REREADS = Gauge("muster_customers_rereads_waiting", f"Records that HubSpot is to be asked about.{_SYSTEM}")
WEBHOOKS = Counter("muster_hubspot_webhooks_total", "Messages of HubSpot's webhooks.", ["outcome"])
OUTBOX = Gauge("muster_outbox_edits", f"Edits on their way to HubSpot.{_SYSTEM}", ["status"])
OUTBOX_OLDEST = Gauge(
    "muster_outbox_oldest_seconds", f"Since the oldest of them was asked for, 0 where none is.{_SYSTEM}"
)
QUOTA_LEFT = Gauge("muster_hubspot_quota_left", f"Calls left today, as HubSpot last said.{_SYSTEM}")
QUOTA = Gauge("muster_hubspot_quota_limit", f"Calls allowed in a day, as HubSpot last said.{_SYSTEM}")
QUOTA_SPENT = Gauge(
    "muster_hubspot_calls_today", f"Calls of HubSpot since midnight UTC.{_SYSTEM}", ["feature"]
)

PROOFS = Gauge("muster_proofs", f"Rows of the checklist by status.{_SYSTEM}", ["status"])
PROOF_STATUS = Gauge(
    "muster_proof_held", f"1 where the last proof of a row held, 0 where it failed.{_SYSTEM}", ["row"]
)
PROOF_AGE = Gauge("muster_proof_age_seconds", f"Since the last proof of a row.{_SYSTEM}", ["row"])
AUDIT_ENTRIES = Gauge("muster_audit_entries", f"Entries sealed into the audit log.{_SYSTEM}")
