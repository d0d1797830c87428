"""The metrics that Prometheus scrapes, each declared once."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("muster_http_requests_total", "Requests answered.", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "muster_http_request_seconds",
    "Time to answer a request.",
    ["method", "route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
POOL_CONNECTIONS = Gauge("muster_database_pool_connections", "Connections of this process.", ["state"])
PEOPLE = Gauge("muster_people", "People in the directory.", ["status"])
SYNC_CALLS = Gauge("muster_people_sync_calls", "Calls of Google by the last run.", ["kind"])
SYNC_FAULTS = Gauge("muster_people_sync_faults", "Failures of the last run.", ["kind", "reason"])
SYNC_WAITED = Gauge("muster_people_sync_waited_seconds", "Waited by the last run for the quota.", ["kind"])
SYNC_DRIFT = Gauge("muster_people_sync_drift", "Changes that push should have told the last run of.")
SYNC_AGE = Gauge("muster_people_sync_age_seconds", "Since the last finished sync of the directory.")
CACHE_EVENTS = Counter("muster_cache_events_total", "What the cache was asked and did.", ["event"])
QUEUE_JOBS = Gauge("muster_queue_jobs", "Jobs in the queue.", ["queue", "state"])
PUSH_MESSAGES = Counter("muster_push_messages_total", "Messages of Google's push.", ["state"])
WORKERS = Gauge("muster_workers", "Workers whose heartbeat is fresh.")
