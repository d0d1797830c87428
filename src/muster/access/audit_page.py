"""The audit log as a page, as CSV, and for programs that collect it."""

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated, Any

import msgspec
from starlette.responses import Response

from muster.access.audit_log import ENTRIES, AuditFilter, AuditLog, Entry
from muster.access.roles import Permission
from muster.errors import Invalid
from muster.platform import audit
from muster.platform.csv import CsvResponse
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.paging import Cursor, ListQuery, links
from muster.platform.routes import Nav, Request, Route

_PLACES = {
    "sync": "/people/syncs/{}",
    "removal": "/people/removals/{}",
    "group": "/groups/{}",
    "google": "/people/{}",
}
"""Kind of subject → where it is seen; accounts and tokens are seen in the log itself."""


class ListEntries(ListQuery, frozen=True, kw_only=True):
    """`who` is part of an address or an account's number; `from` and `until` are days, both included."""

    who: str = ""
    action: str = ""
    subject: str = ""
    q: str = ""
    request: str = ""
    address: str = ""
    since: str = msgspec.field(default="", name="from")
    until: str = ""
    sort: str = "-at"

    def filter(self) -> AuditFilter:
        """Raises Invalid for a day that cannot be read."""
        since, until = _day(self.since), _day(self.until, and_all_of_it=True)
        return AuditFilter(
            who=self.who,
            action=self.action,
            subject=self.subject,
            q=self.q,
            request=self.request,
            address=self.address,
            since=since,
            until=until,
            sort=self.sort,
        )

    @property
    def is_narrowed(self) -> bool:
        return any(
            (self.who, self.action, self.subject, self.q, self.request, self.address, self.since, self.until)
        )


class CollectEntries(msgspec.Struct, frozen=True, kw_only=True):
    """`after` is the cursor of an earlier answer: what was written since comes next."""

    after: str = ""
    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 100


class EntryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`number` is the place in the chain; `subject` is `kind:id`; `before` and `after` are what changed."""

    id: int
    number: int
    at: datetime
    account_id: int | None
    email: str
    action: str
    subject: str
    before: Any
    after: Any
    request_id: str
    address: str
    via: str


class EntriesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest first. `after` is the cursor to go on with, now or whenever there is more."""

    entries: list[EntryAnswer]
    after: str


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A field of what changed."""

    label: str
    before: str
    after: str


class AuditPages:
    def __init__(self, log: AuditLog, database: Database, pages: Pages) -> None:
        self._log = log
        self._database = database
        self._pages = pages

    def routes(self) -> list[Route]:
        see = Permission.SEE_AUDIT
        nav = Nav(label="Audit", icon="audit", order=30, under="/admin/roles", is_top=False)
        return [
            Route(path="/admin/audit", handler=self.show, may=see, reads=ListEntries, nav=nav),
            Route(path="/admin/audit.csv", handler=self.download, may=see, reads=ListEntries),
            Route(
                path="/api/v1/audit",
                handler=self.collect_audit,
                may=see,
                reads=CollectEntries,
                returns=EntriesAnswer,
            ),
        ]

    async def show(self, request: Request, asked: ListEntries) -> Response:
        found = await self._log.find(
            asked.filter(), after=asked.after, before=asked.before, limit=asked.limit
        )
        actions = await self._log.list_actions()
        names = await self._log.names_of({entry.subject for entry in found.rows})
        return self._pages.render(
            request,
            "audit.html",
            title="Audit log",
            entries=[_shown(entry, names) for entry in found.rows],
            filtered=asked.is_narrowed,
            actions={"": "Every action", **{action: in_words(action) for action in actions}},
            head=await self._log.head(),
            **links("/admin/audit", "/admin/audit.csv", asked, found, ENTRIES.labels),
        )

    async def download(self, request: Request, asked: ListEntries) -> Response:
        entries = self._log.stream(asked.filter())
        narrowed = {
            name: value
            for name, value in msgspec.structs.asdict(asked).items()
            if isinstance(value, str) and value
        }
        async with self._database.transaction() as tx:
            await audit.record(tx, "audit.exported", by=request.actor, after=narrowed, origin=request.origin)
        return CsvResponse("audit.csv", _COLUMNS, entries, _cells)

    async def collect_audit(self, request: Request, asked: CollectEntries) -> EntriesAnswer:
        """List the entries of the audit log, the oldest first; go on from where an earlier answer ended."""
        found = await self._log.find(AuditFilter(sort="at"), after=asked.after, limit=asked.limit)
        return EntriesAnswer(
            entries=[
                EntryAnswer(**{name: getattr(entry, name) for name in EntryAnswer.__struct_fields__})
                for entry in found.rows
            ],
            after=Cursor.of(found.rows[-1], "at").written() if found.rows else asked.after,
        )


_COLUMNS = [
    *("At", "Number", "Who", "Account", "Action", "Subject", "Before", "After"),
    *("Via", "Address", "Request"),
]


def _cells(entry: Entry) -> list[object]:
    return [
        entry.at,
        entry.number,
        entry.email,
        entry.account_id,
        entry.action,
        entry.subject,
        _as_text(entry.before),
        _as_text(entry.after),
        entry.via,
        entry.address,
        entry.request_id,
    ]


def _shown(entry: Entry, names: Mapping[str, str]) -> dict[str, object]:
    kind, _, subject_id = entry.subject.partition(":")
    place = _PLACES.get(kind)
    return {
        "entry": entry,
        "said": in_words(entry.action),
        "kind": kind,
        "subject_id": subject_id,
        "subject_name": names.get(entry.subject, ""),
        "href": place.format(subject_id) if place and subject_id else None,
        "lines": list(_differences(entry.before, entry.after)),
    }


def in_words(action: str) -> str:
    """`roles.granted_to_group` → "Roles: granted to group"."""
    area, _, done = action.partition(".")
    return f"{area.capitalize()}: {done.replace('_', ' ')}"


def _differences(before: Any, after: Any) -> Iterator[Line]:
    """Field by field; what is no mapping is one field without a name."""
    old = before if isinstance(before, Mapping) else {} if before is None else {"": before}
    new = after if isinstance(after, Mapping) else {} if after is None else {"": after}
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) == new.get(name):
            yield Line(label=_label(name), before="", after=_as_text(new.get(name)))
        else:
            yield Line(label=_label(name), before=_as_text(old.get(name)), after=_as_text(new.get(name)))


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _as_text(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case list():
            return ", ".join(_as_text(one) for one in value) or "none"
        case bool():
            return "yes" if value else "no"
        case _:
            return msgspec.json.encode(value).decode()


def _day(text: str, *, and_all_of_it: bool = False) -> datetime | None:
    """When the day begins, or is over."""
    if not text:
        return None
    try:
        begins = datetime.combine(date.fromisoformat(text), time(), UTC)
        return begins + timedelta(days=1) if and_all_of_it else begins
    except (ValueError, OverflowError) as error:  # the latter for the last day that there is
        raise Invalid(f"{text!r} is not a day; expected one such as 2026-11-24.") from error
