"""Where HubSpot's webhooks arrive: taken down and answered at once, the asking is the workers'.

Events come late, twice, in any order, or not at all, so their values count for nothing: whatever they name
is read again.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from starlette.background import BackgroundTask
from starlette.responses import Response

from muster.crm import signature
from muster.crm.fields import Kind
from muster.crm.jobs import CrmJobs
from muster.crm.mirror import Mirror
from muster.crm.rereads import PRIVACY, WEBHOOK, Rereads
from muster.errors import Conflict, Invalid, NotAllowed, NotFound
from muster.platform.database import Database, Deadlocked
from muster.platform.prometheus import WEBHOOKS
from muster.platform.rate_limit import Limit
from muster.platform.routes import Anyone, Request, Route, from_json

PATH = "/hooks/hubspot"
MOST_EVENTS = 100
_MOST_BYTES = 512 * 1024

TOLD = Limit(name="hubspot", times=3000, per=timedelta(minutes=1), fails_open=True)
"""An import of a hundred thousand records comes in so many messages; what is not signed costs a hash."""

_TYPES = {"0-1": Kind.CONTACTS, "0-2": Kind.COMPANIES, "0-3": Kind.DEALS}
_NAMES = {kind.one: kind for kind in Kind}
_LARGEST_ID = 2**63


class _Event(msgspec.Struct, rename="camel"):
    """What may be in one; which of these there are depends on its kind and form."""

    subscription_type: str = ""
    object_type_id: str = ""
    object_id: Any = None
    primary_object_id: Any = None
    new_object_id: Any = None
    merged_object_ids: Any = None
    from_object_type_id: str = ""
    from_object_id: Any = None
    to_object_type_id: str = ""
    to_object_id: Any = None
    association_type: str = ""

    def named(self) -> Iterator[tuple[Kind, str]]:
        """The records it is about, of kinds that are copied here. Raises Invalid."""
        if self.subscription_type.endswith(".associationChange"):
            near, _, far = self.association_type.lower().partition("_to_")
            yield from _ids(_TYPES.get(self.from_object_type_id) or _NAMES.get(near), self.from_object_id)
            yield from _ids(_TYPES.get(self.to_object_type_id) or _NAMES.get(far), self.to_object_id)
            return
        kind = _TYPES.get(self.object_type_id) or _NAMES.get(self.subscription_type.partition(".")[0])
        merged = self.merged_object_ids if isinstance(self.merged_object_ids, list) else []
        yield from _ids(kind, self.object_id, self.primary_object_id, self.new_object_id, *merged)

    @property
    def because(self) -> str:
        return PRIVACY if self.subscription_type.endswith(".privacyDeletion") else WEBHOOK


class HubSpotHook:
    def __init__(
        self,
        database: Database,
        rereads: Rereads,
        mirror: Mirror,
        jobs: CrmJobs,
        *,
        secret: str | None,
        public_url: str,
    ) -> None:
        self._database = database
        self._rereads = rereads
        self._mirror = mirror
        self._jobs = jobs
        self._secret = secret
        self._public_url = public_url

    def routes(self) -> list[Route]:
        return [
            Route(
                path=PATH,
                method="POST",
                handler=self.receive,
                may=Anyone.MAY,
                limit=TOLD,
                max_body_bytes=_MOST_BYTES,
            )
        ]

    async def receive(self, request: Request) -> Response:
        if self._secret is None:
            raise NotFound("HubSpot's webhooks are not set up here: HUBSPOT_WEBHOOK_SECRET is not set.")
        body = await request.body()
        try:
            digest, sent_at = signature.verified(
                self._secret,
                request.method,
                self._address(request),
                body,
                given=request.headers.get(signature.SIGNATURE, ""),
                timestamp=request.headers.get(signature.TIMESTAMP, ""),
                now=datetime.now(UTC),
            )
        except NotAllowed:
            WEBHOOKS.labels("forged").inc()
            raise
        events = from_json(body, list[_Event])
        if len(events) > MOST_EVENTS:
            raise Invalid(f"A message holds {MOST_EVENTS} events at most.")
        try:
            await self._take(digest, sent_at, events)
        except Deadlocked:
            await self._take(digest, sent_at, events)
        WEBHOOKS.labels("taken").inc()
        nudge = BackgroundTask(self._jobs.nudge, self._jobs.reread, request_id=request.origin.request_id)
        return Response(status_code=204, background=nudge)

    async def _take(self, digest: bytes, sent_at: datetime, events: Sequence[_Event]) -> None:
        """Raises Conflict for a message that was taken before."""
        named: dict[Kind, dict[str, str]] = {kind: {} for kind in Kind}
        for event in events:
            for kind, record_id in event.named():
                if named[kind].get(record_id) != PRIVACY:
                    named[kind][record_id] = event.because
        async with self._database.transaction() as tx:
            is_new = await tx.value(
                "INSERT INTO crm_hooks (signature, events, sent_at) VALUES (%s, %s, %s) "
                "ON CONFLICT DO NOTHING RETURNING true",
                [digest, len(events), sent_at],
            )
            if not is_new:
                WEBHOOKS.labels("repeated").inc()
                raise Conflict("This very message was taken before.")
            for kind, because in named.items():
                if because:
                    await self._rereads.ask(tx, kind, because)
                    await self._mirror.bust(tx, kind, sorted(because))

    def _address(self, request: Request) -> str:
        """As HubSpot knows it, whatever a proxy has made of it."""
        raw = request.scope.get("raw_path") or request.scope["path"].encode()
        query = request.scope["query_string"]
        return f"{self._public_url}{raw.partition(b'?')[0].decode('latin-1')}" + (
            f"?{query.decode('latin-1')}" if query else ""
        )


def _ids(kind: Kind | None, *given: Any) -> Iterator[tuple[Kind, str]]:
    """Raises Invalid for what is no id."""
    if kind is None:
        return
    for one in given:
        if one is None:
            continue
        text = str(one)
        is_id = isinstance(one, int | str) and text.isascii() and text.isdecimal() and len(text) <= 19
        if not is_id or isinstance(one, bool) or not 0 < int(text) < _LARGEST_ID:
            raise Invalid("An event names what is no id of a record.")
        yield kind, text
