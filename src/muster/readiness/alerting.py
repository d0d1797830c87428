"""Alerts, put together: the book, the channels, who watches, the pages."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import httpx2

from muster.access.audit_log import AuditLog
from muster.access.roles import Permission
from muster.platform.database import Database
from muster.platform.notices import Notices
from muster.platform.notify import Channels
from muster.platform.pages import Alarm, Pages
from muster.platform.probe import Probe
from muster.platform.queue import Queues
from muster.platform.redis import Redis
from muster.platform.routes import Route
from muster.readiness.alert_book import AlertBook
from muster.readiness.alert_probes import AlertProbes
from muster.readiness.alert_rules import Rules
from muster.readiness.alerts_api import AlertsApi
from muster.readiness.alerts_web import AlertPages
from muster.readiness.dead_man import DeadMan
from muster.readiness.proofs import Proofs
from muster.readiness.watch import TRUSTS_FOR, Clock, Watch, real_clock
from muster.readiness.web_minutes import WebMinutes


class Alerting:
    def __init__(
        self,
        database: Database,
        redis: Redis,
        http: httpx2.AsyncClient,
        queues: Queues,
        audit_log: AuditLog,
        *,
        urls: Sequence[str],
        key: str,
        heartbeat_url: str,
        home: Path,
        public_url: str,
        is_sandbox: bool,
    ) -> None:
        self._database = database
        self._redis = redis
        self.alarm = Alarm(may=Permission.SEE_ALERTS)
        self._dead_man = DeadMan(http, audit_log, url=heartbeat_url)
        self._rules = Rules(database, queues, http, home=home, public_url=public_url)
        self._is_sandbox = is_sandbox
        self.notices = Notices(database, Channels(urls, key=key))
        self.book = AlertBook(database, self.notices, public_url=public_url)

    def probes(self) -> list[Probe]:
        return AlertProbes(
            self._database,
            self.notices,
            has_heartbeat=self._dead_man.is_wanted,
            is_sandbox=self._is_sandbox,
        ).probes()

    def watch(
        self, proofs: Proofs, *, clock: Clock = real_clock, trusts_for: timedelta = TRUSTS_FOR
    ) -> Watch:
        return Watch(
            self._database,
            self._redis,
            proofs,
            self._rules.probes(),
            self.book,
            self.notices,
            self._dead_man,
            WebMinutes(self._database),
            self.alarm,
            clock=clock,
            trusts_for=trusts_for,
        )

    def routes(self, watch: Watch, pages: Pages) -> list[Route]:
        return [
            *AlertPages(self._database, self.book, self.notices, watch, pages).routes(),
            *AlertsApi(self._database, self.book, self.notices, watch).routes(),
        ]
