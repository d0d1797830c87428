"""Where Google's push arrives: taken down and answered at once, the asking is the workers'."""

from datetime import timedelta

import msgspec
from starlette.responses import Response

from muster.errors import Invalid
from muster.people.jobs import PeopleJobs
from muster.people.push import Message, PushChannels
from muster.platform.rate_limit import Limit
from muster.platform.routes import Anyone, Request, Route

PUSHED = Limit(name="push", times=6000, per=timedelta(minutes=1), fails_open=False)
"""A whole department may be moved at once; Google sends again what is refused."""


class _User(msgspec.Struct):
    id: str = ""


class PushHook:
    def __init__(self, push: PushChannels, jobs: PeopleJobs) -> None:
        self._push = push
        self._jobs = jobs

    def routes(self) -> list[Route]:
        return [
            Route(path="/hooks/google", method="POST", handler=self.receive, may=Anyone.MAY, limit=PUSHED)
        ]

    async def receive(self, request: Request) -> Response:
        """https://developers.google.com/workspace/admin/directory/v1/guides/push#understanding-the-notification"""
        message = Message(
            channel_id=request.headers.get("x-goog-channel-id", ""),
            token=request.headers.get("x-goog-channel-token", ""),
            resource_id=request.headers.get("x-goog-resource-id", ""),
            state=request.headers.get("x-goog-resource-state", ""),
            google_id=_google_id(await request.body()),
        )
        if await self._push.receive(message):
            await self._jobs.nudge(self._jobs.reread, request_id=request.origin.request_id)
        return Response(status_code=204)


def _google_id(body: bytes) -> str:
    """Of whom the message is; a `sync` message has no body. Raises Invalid."""
    if not body:
        return ""
    try:
        google_id = msgspec.json.decode(body, type=_User).id
    except (msgspec.DecodeError, RecursionError) as error:  # the latter for what is nested too deep
        raise Invalid("The body is not a message of Google's.") from error
    if google_id and not (google_id.isascii() and google_id.isalnum() and len(google_id) <= 64):
        raise Invalid("The body names nobody.")
    return google_id
