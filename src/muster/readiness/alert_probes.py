"""Whether alerts would reach anybody: somebody looks, every channel takes, and the outside knows."""

from datetime import UTC, datetime, timedelta

import msgspec

from muster.platform.database import Database
from muster.platform.notices import ChannelState, Notices
from muster.platform.notify import Channel
from muster.platform.pages import age
from muster.platform.probe import Failed, NotApplicable, Probe

LOOKED_WITHIN = timedelta(minutes=4)
CANARY_WITHIN = timedelta(hours=26)
PINGED_WITHIN = timedelta(minutes=11)
"""Two pings and a little."""


class _Watched(msgspec.Struct, frozen=True, kw_only=True):
    looked_at: datetime | None
    looked_by: str
    pinged_at: datetime | None
    ping_accepted_at: datetime | None
    ping_error: str


class AlertProbes:
    def __init__(
        self, database: Database, notices: Notices, *, has_heartbeat: bool, is_sandbox: bool
    ) -> None:
        self._database = database
        self._notices = notices
        self._has_heartbeat = has_heartbeat
        self._is_sandbox = is_sandbox

    def probes(self) -> list[Probe]:
        return [
            Probe(row="alerts.watching", ask=self.watching),
            Probe(row="alerts.delivered", ask=self.delivered),
            Probe(row="alerts.heartbeat", ask=self.heartbeat),
        ]

    async def watching(self) -> str:
        watched = await self._watched()
        if watched is None or watched.looked_at is None:
            raise Failed("nobody has looked yet")
        if datetime.now(UTC) - watched.looked_at > LOOKED_WITHIN:
            raise Failed(f"nobody has looked since {watched.looked_at:%Y-%m-%d %H:%M} UTC")
        return f"looked {age(watched.looked_at)}, by {watched.looked_by}"

    async def delivered(self) -> str:
        channels = self._notices.channels.all
        if not channels and self._is_sandbox:
            raise NotApplicable("ALERT_URLS is not set, and this is the sandbox company")
        if not channels:
            raise Failed("ALERT_URLS is not set: nobody is told of anything")
        found = [(one, await self._notices.state_of(one)) for one in channels]
        if problems := [problem for one, state in found if (problem := _problem(one, state))]:
            raise Failed("; ".join(problems))
        oldest = min(state.accepted_at for _, state in found if state.accepted_at)
        names = ", ".join(one.name for one in channels)
        return f"{len(channels)} of {len(channels)} took the daily canary, the last {age(oldest)}: {names}"

    async def heartbeat(self) -> str:
        if not self._has_heartbeat:
            raise NotApplicable("HEARTBEAT_URL is not set")
        watched = await self._watched()
        if watched is None or watched.pinged_at is None:
            raise Failed("no ping has been sent yet")
        if watched.ping_error:
            raise Failed(f"the last ping, {age(watched.pinged_at)}, was not accepted: {watched.ping_error}")
        if datetime.now(UTC) - watched.pinged_at > PINGED_WITHIN:
            raise Failed(f"no ping has been sent since {watched.pinged_at:%Y-%m-%d %H:%M} UTC")
        return f"the ping of {age(watched.pinged_at)} was accepted"

    async def _watched(self) -> _Watched | None:
        return await self._database.row(
            _Watched,
            "SELECT looked_at, looked_by, pinged_at, ping_accepted_at, ping_error FROM alert_watch",
        )


def _problem(channel: Channel, state: ChannelState) -> str:
    """What is wrong with a channel, "" if nothing is."""
    why = f": {state.last_error}" if state.last_error else ""
    if state.given_up:
        return f"{channel.name} never took {state.given_up} of the last day's messages{why}"
    if state.accepted_at is None:
        return f"{channel.name} has not taken a canary yet{why}"
    if datetime.now(UTC) - state.accepted_at > CANARY_WITHIN:
        return f"{channel.name} took its last canary {age(state.accepted_at)}{why}"
    if state.waiting_since:
        return f"{channel.name} has not taken a message of {age(state.waiting_since)}{why}"
    return ""
