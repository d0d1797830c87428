"""The page that says what works, also when nothing else does."""

from starlette.responses import Response

from muster.platform.pages import Pages
from muster.platform.routes import Anyone, Request, Route
from muster.readiness.status import Capable, Status, Works

MARKS = {Works.YES: "proved", Works.PARTLY: "stale", Works.NO: "failed"}


class StatusPage:
    def __init__(self, status: Status, pages: Pages) -> None:
        self._status = status
        self._pages = pages

    def routes(self) -> list[Route]:
        return [Route(path="/status", handler=self.show, may=Anyone.MAY, greets=True, bare=True)]

    async def show(self, request: Request) -> Response:
        """Whoever is not signed in, which without Redis is everybody, is told what works and no more."""
        is_known = request.is_known
        found = await (self._status.now_and_before() if is_known else self._status.now())
        response = self._pages.render(
            request,
            "status.html",
            title="Status",
            verdict=_verdict(found),
            marks=MARKS,
            capabilities=found,
            is_known=is_known,
        )
        response.headers["cache-control"] = "no-store"
        return response


def _verdict(found: list[Capable]) -> dict[str, str]:
    lacking = [one for one in found if one.works is not Works.YES]
    if not lacking:
        return {"mark": MARKS[Works.YES], "words": "Everything works"}
    if all(one.works is Works.NO for one in found):
        return {"mark": MARKS[Works.NO], "words": "Nothing works at this moment"}
    worst = Works.NO if any(one.works is Works.NO for one in lacking) else Works.PARTLY
    named = ", ".join(one.name for one in lacking if one.works is worst)
    plural = sum(one.works is worst for one in lacking) > 1 or "and" in named
    verbs = {Works.NO: ("does not work", "do not work"), Works.PARTLY: ("works in part", "work in part")}
    return {"mark": MARKS[worst], "words": f"{named} {verbs[worst][plural]}"}
