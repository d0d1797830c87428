"""What the workers do for access."""

from datetime import timedelta

from muster.access.account import Accounts
from muster.access.audit_log import AuditLog
from muster.access.rights import RightsBook
from muster.platform.queue import Cron, Job, Work


class AccessJobs:
    def __init__(self, accounts: Accounts, rights: RightsBook, audit: AuditLog) -> None:
        self._accounts = accounts
        self._rights = rights
        self._audit = audit

    def jobs(self) -> list[Job]:
        return [
            Job(
                name="access.end_sessions",
                queue="upkeep",
                run=self._end_sessions,
                every=timedelta(seconds=30),
                deadline=timedelta(seconds=25),
                attempts=1,
                at_once=1,
                idempotent="A session that has ended cannot be ended again.",
            ),
            Job(
                name="access.tell_rights",
                queue="upkeep",
                run=self._tell_rights,
                every=timedelta(seconds=30),
                deadline=timedelta(seconds=25),
                attempts=1,
                at_once=1,
                idempotent="The cache is told the same rights once more.",
            ),
            Job(
                name="access.verify_audit",
                queue="upkeep",
                run=self._verify_audit,
                cron=Cron("20 1 * * *"),
                deadline=timedelta(minutes=10),
                backoff=timedelta(minutes=10),
                at_once=1,
                idempotent="It only reads the log, and notes that it was proved.",
            ),
        ]

    async def _end_sessions(self, work: Work) -> None:
        await self._accounts.end_sessions_of_suspended()

    async def _tell_rights(self, work: Work) -> None:
        await self._rights.tell_again()

    async def _verify_audit(self, work: Work) -> None:
        await self._audit.verify(is_full=True)
