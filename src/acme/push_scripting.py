"""Stage directions for push channels: how long they last, how they die, and what becomes of messages."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.channels import Channel, Channels
from acme.deliveries import Deliveries, WebhookFault
from acme.orders import Refused, json, order, read


class ChannelOrder(msgspec.Struct, forbid_unknown_fields=True):
    longest_seconds: int


class PushScripting:
    def __init__(self, channels: Channels, deliveries: Deliveries) -> None:
        self._channels = channels
        self._deliveries = deliveries

    def routes(self) -> list[Route]:
        return [
            Route("/sandbox/channels", self._list, methods=["GET"]),
            Route("/sandbox/webhooks", self._pending, methods=["GET"]),
            order("/sandbox/channels", self._limit),
            order("/sandbox/channels/kill", self._kill),
            order("/sandbox/webhooks", self._add_fault),
        ]

    async def _list(self, _: Request) -> Response:
        return json(
            {
                "longest_seconds": self._channels.longest_seconds,
                "channels": [self._described(channel) for channel in self._channels],
            }
        )

    def _described(self, channel: Channel) -> dict[str, object]:
        tally = self._deliveries.tally(channel.id)
        return {
            "id": channel.id,
            "resource_id": channel.resource_id,
            "event": channel.event,
            "address": channel.address,
            "expires_at": channel.expires_at,
            "is_expired": self._channels.is_expired(channel),
            "is_dead": channel.is_dead,
            "sent": tally.sent,
            "failed": tally.failed,
            "pending": tally.pending,
        }

    async def _pending(self, _: Request) -> Response:
        return json({"pending": self._deliveries.pending})

    async def _limit(self, request: Request) -> Response:
        limit = await read(request, ChannelOrder)
        if limit.longest_seconds < 1:
            raise Refused(422, "a channel lasts a second at least")
        self._channels.longest_seconds = limit.longest_seconds
        return json({"longest_seconds": limit.longest_seconds})

    async def _kill(self, _: Request) -> Response:
        self._channels.kill()
        return json({"killed": sum(channel.is_dead for channel in self._channels)})

    async def _add_fault(self, request: Request) -> Response:
        fault = await read(request, WebhookFault)
        if fault.times < 1 or fault.seconds < 0:
            raise Refused(422, "times count from 1, seconds from 0")
        self._deliveries.faults.append(fault)
        return json({"waiting": len(self._deliveries.faults)})
