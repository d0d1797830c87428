"""Whether people can sign in, only the right ones, and may do what they should."""

import time
from collections.abc import Sequence

from muster.access.audit_log import AuditLog
from muster.access.google_signin import GoogleSignIn
from muster.access.probe_account import CHANGING, ProbeAccount
from muster.access.rights import RightsBook
from muster.access.role_book import RoleBook
from muster.access.roles import Role
from muster.platform.database import Database
from muster.platform.probe import Failed, Probe


class AccessProbes:
    def __init__(
        self,
        database: Database,
        google: GoogleSignIn,
        audit: AuditLog,
        rights: RightsBook,
        book: RoleBook,
        probe_account: ProbeAccount,
        *,
        allowed_domains: Sequence[str],
        admin_emails: Sequence[str],
    ) -> None:
        self._database = database
        self._google = google
        self._audit = audit
        self._rights = rights
        self._book = book
        self._probe_account = probe_account
        self._admin_emails = admin_emails
        self._allowed_domains = allowed_domains

    def probes(self) -> list[Probe]:
        return [
            Probe(row="signin.discovery", ask=self.discovery),
            Probe(row="access.roles", ask=self.roles),
            Probe(row="access.admins", ask=self.admins),
            Probe(row="audit.chained", ask=self._audit.verify),
        ]

    async def roles(self) -> str:
        """That a change is seen at once, and that what is cached of anybody is what the database says."""
        account = (await self._probe_account.get(CHANGING)).account_id
        started = time.perf_counter()
        async with self._probe_account.alone():
            for is_given in (True, False):
                await self._probe_account.change_role(account, is_given=is_given)
                if await self._probe_account.sees_role(account) is not is_given:
                    raise Failed(f"a role {'given' if is_given else 'taken'} was not seen at once")
        took_ms = (time.perf_counter() - started) * 1000
        # Its own account has just been tried, and somebody else who probes may be changing it by now.
        wrong = set(await self._rights.find_stale()) - {account}
        # Whoever is changed at this very moment is not wrong for longer than that.
        if wrong and (still_wrong := await self._rights.find_stale(wrong)):
            named = ", ".join(sorted(still_wrong.values())[:5])
            raise Failed(f"cached rights differ from the database for {named}")
        waiting: int = await self._database.value(
            "SELECT count(*) FROM rights_changes WHERE at < now() - interval '2 minutes'"
        )
        if waiting:
            raise Failed(f"{waiting} changes wait to be told to the cache; does a worker take `upkeep`?")
        looked_at = len(await self._rights.list_kept())
        are = "1 cached account is" if looked_at == 1 else f"{looked_at} cached accounts are"
        return f"given and taken, each seen at once ({took_ms:.0f} ms); {are} right"

    async def admins(self) -> str:
        """Somebody who can sign in decides who may do what, or will as soon as they do."""
        named = list(self._admin_emails)
        able = await self._database.value(_ADMINS, {"named": named})
        if able:
            return f"{able} {'admin' if able == 1 else 'admins'} can sign in"
        by_group = await self._count_by_group()
        if by_group:
            return f"{by_group} {'admin' if by_group == 1 else 'admins'} can sign in, by way of a group"
        to_come = await self._database.value(_TO_COME, [named])
        if to_come is None:
            raise Failed("nobody who can sign in is an admin")
        return f"no admin has signed in yet; {to_come} of ADMIN_EMAILS will be one"

    async def _count_by_group(self) -> int:
        """Who can sign in and is admin by a group alone."""
        grants = [one for one in await self._book.list_of_groups() if one.role == Role.ADMIN]
        emails = {
            person.email for grant in grants for person in await self._book.list_people_of(grant.group_id)
        }
        return int(
            await self._database.value(
                """
                SELECT count(*) FROM accounts
                WHERE suspended_at IS NULL AND google_id IS NOT NULL AND lower(email) = ANY(%s)
                """,
                [sorted(emails)],
            )
        )

    async def discovery(self) -> str:
        metadata = await self._google.metadata(fresh=True)
        keys = await self._google.signing_keys(fresh=True)
        if not keys:
            raise Failed(f"{metadata.jwks_uri} publishes no signing key")
        await self._google.check_client()
        keys_published = f"{len(keys)} signing key{'' if len(keys) == 1 else 's'}"
        domains = ", ".join(self._allowed_domains)
        return f"{metadata.issuer}, {keys_published}, our client known; {domains} may enter"


_TO_COME = """
SELECT min(named) FROM unnest(%s::text[]) AS named
WHERE NOT EXISTS (SELECT FROM accounts WHERE lower(email) = named AND suspended_at IS NOT NULL)
"""

_ADMINS = """
SELECT count(*) FROM accounts
WHERE suspended_at IS NULL AND google_id IS NOT NULL AND (
    lower(email) = ANY(%(named)s)
    OR EXISTS (SELECT FROM account_roles WHERE account_id = accounts.id AND role = 'admin')
)
"""
