"""The checklist as a page."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta

from starlette.responses import RedirectResponse, Response

from muster.access.roles import Permission
from muster.platform import audit
from muster.platform.database import Database
from muster.platform.pages import Pages
from muster.platform.routes import Nav, Request, Route
from muster.readiness.proofs import Judged, Proofs, tally


class ChecklistPages:
    def __init__(
        self,
        database: Database,
        proofs: Proofs,
        pages: Pages,
        *,
        alerts: Callable[[], Awaitable[Mapping[str, int]]],
    ) -> None:
        """`alerts` tells which rows have an alert open, and its number."""
        self._alerts = alerts
        self._database = database
        self._proofs = proofs
        self._pages = pages

    def routes(self) -> list[Route]:
        nav = Nav(label="Checklist", icon="checklist", order=9)
        return [
            Route(path="/checklist", handler=self.show, may=Permission.SEE_CHECKLIST, nav=nav),
            Route(
                path="/checklist/proofs", method="POST", handler=self.prove, may=Permission.PROVE_CHECKLIST
            ),
        ]

    async def show(self, request: Request) -> Response:
        rows = await self._proofs.judge_all()
        alerts = await self._alerts() if request.actor.may(Permission.SEE_ALERTS) else {}
        groups: dict[str, list[dict[str, object]]] = {}
        for judged in rows:
            groups.setdefault(judged.row.group, []).append(
                {**_shown(judged), "alert": alerts.get(judged.row.id)}
            )
        return self._pages.render(
            request,
            "checklist.html",
            title="Checklist",
            groups=[{"title": title, "rows": shown} for title, shown in groups.items()],
            counts=tally(rows),
            may_check=request.actor.may(Permission.PROVE_CHECKLIST),
            judged_at=max((one.proof.at for one in rows if one.proof), default=None),
        )

    async def prove(self, request: Request) -> Response:
        await self._proofs.prove()
        async with self._database.transaction() as tx:
            await audit.record(tx, "checklist.proved", by=request.actor, origin=request.origin)
        return RedirectResponse("/checklist", status_code=303)


_MARKS = {True: "proved", False: "failed", None: "not applicable"}


def _shown(judged: Judged) -> dict[str, object]:
    row, proof = judged.row, judged.proof
    return {
        "id": row.id,
        "title": row.title,
        "promise": row.promise,
        "status": judged.status.value,
        "evidence": proof.evidence if proof else "nobody has looked yet",
        "checked_at": proof.as_of if proof else None,
        "took_ms": proof.took_ms if proof else None,
        "half_life": in_words(row.half_life),
        "remedy": judged.remedy,
        "runbook": f"docs/runbooks/{(judged.mend_first or row).id}.md",
        "survives": row.survives,
        "history": [_MARKS[held] for held in judged.history],
    }


def in_words(duration: timedelta) -> str:
    minutes = round(duration.total_seconds() / 60)
    for size, unit in ((1440, "day"), (60, "hour")):
        if minutes >= size and minutes % size == 0:
            count = minutes // size
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{minutes} min"
