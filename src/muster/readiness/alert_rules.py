"""Rules on figures: what is worth an alert though the checklist promises nothing about it.

A sync that is stale, a quota that runs out, an outbox that is stuck and a missing worker have rows of their
own, whose alerts they are.
"""
# ruff: noqa: E501  a promise stands on one line

import asyncio
import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import msgspec

from muster.platform.database import Database
from muster.platform.probe import Failed, NotApplicable, NotTried, Probe
from muster.platform.queue import Queues
from muster.readiness.checklist import Row

GROUP = "Figures"

WINDOW = timedelta(minutes=5)
FAULTS_OF_TEN = 20
"""One fault in so many requests, and at least `FEWEST_FAULTS` of them: a single fault at night is no outage."""
FEWEST_FAULTS = 10

OVERDUE = timedelta(minutes=10)
GONE_FOR = timedelta(minutes=1)
CERTIFICATE_LEFT = timedelta(days=14)
DISK_LEFT = 0.08
DISK_LEFT_BYTES = 2**30
REFUSED_SIGN_INS = 30
SIGN_IN_WINDOW = timedelta(minutes=10)
TRIED_BY_PROBE = 6
"""False returns from Google that each proof of signin.refuses has refused."""

_ASKED_FOR = 5.0

RULES = (
    Row(
        id="rule.errors",
        group=GROUP,
        title="Errors on pages",
        promise="Fewer than one request in twenty ends in a fault of Muster's own.",
        remedy="See the web's log for `request_failed`: its err says what broke, its reqId which request. If it began with a release, go back to the one before.",
    ),
    Row(
        id="rule.backlog",
        group=GROUP,
        title="Jobs that wait",
        promise="No job waits for a worker for more than ten minutes.",
        remedy="See workers.alive, and whether a queue is paused. If workers are busy, start more with `muster worker`.",
    ),
    Row(
        id="rule.worker_gone",
        group=GROUP,
        title="Worker gone",
        promise="A worker that ends without a word is replaced within a minute.",
        remedy="See what killed it: memory (dmesg, the orchestrator's events) or a crash (the last lines of its log). Start another with `muster worker`; its jobs have gone back to the queue.",
    ),
    Row(
        id="rule.certificate",
        group=GROUP,
        title="Certificate",
        promise="The certificate at PUBLIC_URL is believed and holds for two more weeks.",
        remedy="Renew it where TLS ends (the proxy or load balancer before Muster), and see why its own renewal failed.",
    ),
    Row(
        id="rule.disk",
        group=GROUP,
        title="Room on the disk",
        promise="The disk of MUSTER_HOME has a twelfth of its room left, and a gigabyte.",
        remedy="Make room: old backups and logs first. PostgreSQL stops taking writes when the disk is full.",
    ),
    Row(
        id="rule.login_abuse",
        group=GROUP,
        title="Refused sign-ins",
        promise="Fewer than thirty sign-ins are refused within ten minutes.",
        remedy="See the web's log for `/sign-in/google/callback` and the addresses it came from; shut them out before Muster. If they are your own people, see signin.discovery and ALLOWED_DOMAINS.",
    ),
)


class _Answered(msgspec.Struct, frozen=True):
    requests: int
    faults: int


class Rules:
    def __init__(
        self,
        database: Database,
        queues: Queues,
        http: httpx2.AsyncClient,
        *,
        home: Path,
        public_url: str,
    ) -> None:
        self._http = http
        self._database = database
        self._queues = queues
        self._home = home
        self._public_url = public_url

    def probes(self) -> list[Probe]:
        return [
            Probe(row="rule.errors", ask=self.errors),
            Probe(row="rule.backlog", ask=self.backlog),
            Probe(row="rule.worker_gone", ask=self.worker_gone),
            Probe(row="rule.certificate", ask=self.certificate),
            Probe(row="rule.disk", ask=self.disk),
            Probe(row="rule.login_abuse", ask=self.login_abuse),
        ]

    async def errors(self) -> str:
        found = await self._database.row(
            _Answered,
            "SELECT coalesce(sum(requests), 0)::int AS requests, coalesce(sum(faults), 0)::int AS faults "
            "FROM web_minutes WHERE minute > now() - %s",
            [WINDOW],
        ) or _Answered(0, 0)
        seen = f"{found.faults:,} of {found.requests:,} requests failed within five minutes"
        if found.faults >= FEWEST_FAULTS and found.faults * FAULTS_OF_TEN >= found.requests:
            raise Failed(seen)
        return seen

    async def backlog(self) -> str:
        waited = {name: timedelta(seconds=seconds) for name, seconds in (await self._queues.ages()).items()}
        late = {name: age for name, age in waited.items() if age > OVERDUE}
        if late:
            told = ", ".join(f"{name} for {age.total_seconds() / 60:.0f} min" for name, age in late.items())
            raise Failed(f"the oldest job waits in {told}")
        longest = max(waited.values(), default=timedelta(0))
        return f"the oldest job has waited for {longest.total_seconds():.0f} s"

    async def worker_gone(self) -> str:
        gone = await self._database.rows(_Gone, _GONE, [GONE_FOR, GONE_FOR])
        if gone:
            told = ", ".join(f"{one.host}:{one.pid} {one.seen_at:%H:%M} UTC" for one in gone[:5])
            raise Failed(f"{len(gone)} ended without a word and nobody came in their place: {told}")
        return "nobody is missing"

    async def certificate(self) -> str:
        if not self._public_url.startswith("https://"):
            raise NotApplicable(f"{self._public_url} has no certificate")
        left = await self._certificate_left()
        seen = f"the certificate at {self._public_url} ends in {left.days} days"
        if left < CERTIFICATE_LEFT:
            raise Failed(seen)
        return seen

    async def _certificate_left(self) -> timedelta:
        """Raises Failed where it is not believed, NotTried where nobody answers."""
        try:
            async with self._http.stream("GET", f"{self._public_url}/livez", timeout=_ASKED_FOR) as answer:
                certificate = answer.extensions["network_stream"].get_extra_info("ssl_object").getpeercert()
        except httpx2.HTTPError as error:
            if "certificate verify failed" in str(error):
                raise Failed(f"the certificate at {self._public_url} is not believed: {error}") from error
            why = f"{self._public_url} does not answer ({type(error).__name__})"
            raise NotTried(why, row="web.headers") from error
        return datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC) - datetime.now(
            UTC
        )

    async def disk(self) -> str:
        usage = await asyncio.to_thread(shutil.disk_usage, _existing(self._home))
        seen = f"{usage.free / 2**30:.1f} of {usage.total / 2**30:.0f} GB are free at {self._home}"
        if usage.free < usage.total * DISK_LEFT or usage.free < DISK_LEFT_BYTES:
            raise Failed(seen)
        return seen

    async def login_abuse(self) -> str:
        """Without those that Muster tries itself, to see that they are refused."""
        refused = await self._database.value(_REFUSED, [SIGN_IN_WINDOW, TRIED_BY_PROBE, SIGN_IN_WINDOW])
        seen = f"{max(refused, 0):,} sign-ins were refused within ten minutes"
        if refused >= REFUSED_SIGN_INS:
            raise Failed(seen)
        return seen


class _Gone(msgspec.Struct, frozen=True):
    host: str
    pid: int
    seen_at: datetime


_GONE = """
SELECT host, pid, seen_at FROM workers AS gone
WHERE seen_at < now() - %s AND seen_at > now() - interval '1 hour' AND (
    SELECT count(*) FROM workers WHERE seen_at >= gone.seen_at AND seen_at < now() - %s
) > (SELECT count(*) FROM workers WHERE started_at > gone.seen_at)
ORDER BY seen_at LIMIT 20
"""

_REFUSED = """
SELECT coalesce((SELECT sum(refused_sign_ins) FROM web_minutes WHERE minute > now() - %s), 0)
    - %s * (SELECT count(*) + 1 FROM proofs WHERE row = 'signin.refuses' AND at > now() - %s)
"""


def _existing(path: Path) -> Path:
    """The folder, or the nearest above it that is there: with servers elsewhere nobody has made it."""
    return next(one for one in (path, *path.parents) if one.exists())
