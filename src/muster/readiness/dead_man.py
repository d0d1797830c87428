"""The ping that stays away when nobody watches any more, to a service that then raises the alarm for us.

In the manner of healthchecks.io: /start when a look begins, the address itself when it went well, /fail when
it did not. It carries the head of the audit log: a chain cannot show by itself that its end was cut off, and
whoever keeps these pings can.
"""

import httpx2

from muster.access.audit_log import AuditLog
from muster.errors import Unavailable

DEADLINE = 10.0
TRIES = 2


class DeadMan:
    def __init__(self, http: httpx2.AsyncClient, audit_log: AuditLog, *, url: str) -> None:
        """`url` is "" where nobody is told."""
        self._http = http
        self._audit_log = audit_log
        self._url = url.rstrip("/")

    @property
    def is_wanted(self) -> bool:
        return bool(self._url)

    async def start(self) -> str:
        return await self._ping("/start", "")

    async def succeed(self, words: str) -> str:
        return await self._ping("", f"{words}\n{await self._head()}")

    async def succeed_blind(self, words: str) -> str:
        """Without asking PostgreSQL, which is away."""
        return await self._ping("", words)

    async def fail(self, words: str) -> str:
        return await self._ping("/fail", f"{words}\n{await self._head()}")

    async def _head(self) -> str:
        try:
            head = await self._audit_log.head()
        except Unavailable:
            return "audit log: PostgreSQL does not answer"
        return f"audit log: {head.number} entries, head {head.hash.hex() or 'none'}"

    async def _ping(self, path: str, words: str) -> str:
        """Why it was not accepted, "" if it was. Nothing of the address, which is a secret, is said."""
        why = ""
        for _ in range(TRIES):
            try:
                answer = await self._http.post(
                    f"{self._url}{path}", content=words.encode()[:10_000], timeout=DEADLINE
                )
            except httpx2.HTTPError as error:
                why = f"no answer ({type(error).__name__})"
                continue
            if answer.is_success:
                return ""
            why = f"answered {answer.status_code}"
        return why
