"""users.watch and channels.stop."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.channels import EVENTS, Channel, ChannelRequest, Channels
from acme.company import USER_SCOPE
from acme.gate import Gate
from acme.google_error import GoogleError, invalid
from acme.listing import check_whose


class Push:
    def __init__(self, channels: Channels, gate: Gate) -> None:
        self._channels = channels
        self._gate = gate

    def routes(self) -> list[Route]:
        table = (
            ("/admin/directory/v1/users/watch", self._watch),
            ("/admin/directory_v1/channels/stop", self._stop),
        )
        return [
            Route(path, self._gate.before(handler, USER_SCOPE), methods=["POST"]) for path, handler in table
        ]

    async def _watch(self, request: Request) -> Response:
        params = dict(request.query_params)
        check_whose(params)
        event = params.get("event")
        if event is not None and event not in EVENTS:
            raise invalid("event")
        channel = self._channels.open(await _read(request), event)
        return Response(msgspec.json.encode(_resource(channel)), media_type="application/json; charset=UTF-8")

    async def _stop(self, request: Request) -> Response:
        channel = await _read(request)
        self._channels.stop(channel.id, channel.resource_id)
        return Response(status_code=204)


def _resource(channel: Channel) -> dict[str, Any]:
    made = {
        "kind": "api#channel",
        "id": channel.id,
        "resourceId": channel.resource_id,
        "resourceUri": channel.resource_uri,
        "expiration": f"{channel.expires_at}000",
    }
    return made if channel.token is None else made | {"token": channel.token}


async def _read(request: Request) -> ChannelRequest:
    try:
        return msgspec.json.decode(await request.body(), type=ChannelRequest)
    except msgspec.DecodeError:
        raise GoogleError(400, "parseError", "Parse Error") from None
