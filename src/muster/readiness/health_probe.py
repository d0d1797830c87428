"""Asks the portal at PUBLIC_URL what load balancers and Prometheus ask it, and whether it is true."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import httpx2
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from muster import __version__
from muster.platform.addresses import is_loopback
from muster.platform.probe import Failed, NotTried, Probe
from muster.readiness.health import Health, Standing, State
from muster.readiness.health_pages import Ready

_FRONT = "web.headers"
_OLDEST = timedelta(seconds=60)
"""Of a report that comes anew each second, and from a machine whose clock may be a little off."""

_LOOKS = 3
_LOOKED_AGAIN_AFTER = 1.5
"""Seconds; longer than a report is told for."""

_REFUSED = {401, 403}
_ROWS = {
    "postgresql": "postgresql.answers",
    "migrations": "postgresql.migrated",
    "redis": "redis.persistence",
}


class HealthProbe:
    def __init__(
        self, http: httpx2.AsyncClient, health: Health, *, public_url: str, metrics_token: str | None
    ) -> None:
        self._http = http
        self._health = health
        self._public_url = public_url
        self._metrics_token = metrics_token

    def probes(self) -> list[Probe]:
        return [Probe(row="health.answers", ask=self.answers)]

    async def answers(self) -> str:
        await self._see_it_lives()
        components = await self._see_it_is_ready()
        figures = await self._see_its_figures()
        return f"alive and ready with {components} components told of; {figures}"

    async def _see_it_lives(self) -> None:
        response = await self._get("/livez")
        alive = _read(response, "/livez")
        if alive.status is not State.PASS:
            raise Failed(f"/livez says {alive.status}, which it says of nobody")
        if alive.release_id != __version__:
            raise Failed(f"/livez is of release {alive.release_id}, this is {__version__}")

    async def _see_it_is_ready(self) -> int:
        """What it says of a server must be what is seen from here. What has just broken is seen by one of
        the two first, and on a busy machine one of them may wait in vain for once.
        """
        for _ in range(_LOOKS - 1):
            said = await self._said()
            if not await self._differing(said):
                return _judged(said)
            await asyncio.sleep(_LOOKED_AGAIN_AFTER)
        said = await self._said()
        for one in await self._differing(said):
            why = f"/readyz says that {one.name} is well; seen from here: {one.problem}"
            raise NotTried(why, row=_ROWS[one.name])
        return _judged(said)

    async def _differing(self, said: Mapping[str, State]) -> list[Standing]:
        missing = (await self._health.report()).missing
        return [one for one in missing if said[one.name] is State.PASS]

    async def _said(self) -> dict[str, State]:
        response = await self._get("/readyz")
        ready = _read(response, "/readyz")
        if (response.status_code == 503) != (ready.status is State.FAIL):
            raise Failed(f"/readyz says {ready.status} and answered {response.status_code}")
        for name, measured in ready.checks.items():
            if any(datetime.now(UTC) - one.time > _OLDEST for one in measured):
                raise Failed(f"what /readyz says of {name} is of {measured[0].time:%H:%M:%S}: it was kept")
        said = {name: measured[0].status for name, measured in ready.checks.items() if measured}
        if unsaid := sorted(_ROWS.keys() - said.keys()):
            raise Failed(f"/readyz says nothing of {', '.join(unsaid)}")
        return said

    async def _see_its_figures(self) -> str:
        """With the token, which Prometheus has too; and that nobody is told them who has none."""
        stranger = await self._get("/metrics")
        is_here = is_loopback(urlsplit(self._public_url).hostname or "")
        if stranger.status_code == 200 and (self._metrics_token or not is_here):
            raise Failed("/metrics is told to whoever asks: without a token, too")
        if self._metrics_token is None:
            if stranger.status_code in _REFUSED:
                return "figures for its own machine alone"
            return f"{_series(stranger)} series"
        told = await self._get("/metrics", authorization=f"Bearer {self._metrics_token}")
        if told.status_code in _REFUSED:
            raise Failed("/metrics does not take our METRICS_TOKEN: the web has another")
        return f"{_series(told)} series for who has the token"

    async def _get(self, path: str, **headers: str) -> httpx2.Response:
        try:
            return await self._http.get(f"{self._public_url}{path}", headers=headers)
        except httpx2.HTTPError as error:
            why = f"{self._public_url} does not answer ({type(error).__name__})"
            raise NotTried(why, row=_FRONT) from error


def _judged(said: Mapping[str, State]) -> int:
    """How many components are told of, if all that is needed is there."""
    if away := next((name for name in _ROWS if said[name] is State.FAIL), None):
        raise NotTried(f"the portal's /readyz fails for {away}", row=_ROWS[away])
    return len(said)


def _read(response: httpx2.Response, path: str) -> Ready:
    if response.status_code not in {200, 503}:
        raise Failed(f"{path} answered {response.status_code}")
    try:
        return msgspec.json.decode(response.content, type=Ready)
    except msgspec.DecodeError as error:
        raise Failed(f"{path} is not answered by the portal: it is no health+json") from error


def _series(response: httpx2.Response) -> int:
    if response.status_code != 200:
        raise Failed(f"/metrics answered {response.status_code}")
    try:
        samples = [
            sample for family in text_string_to_metric_families(response.text) for sample in family.samples
        ]
    except ValueError as error:
        raise Failed("/metrics is no text that Prometheus reads") from error
    versions = {sample.labels.get("version") for sample in samples if sample.name == "muster_build_info"}
    if __version__ not in versions:
        raise Failed(f"/metrics does not say that it is of release {__version__}")
    return len(samples)
