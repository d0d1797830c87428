"""People's photos: the picture itself, and as users.photos gives it."""

from base64 import urlsafe_b64encode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.company import USER_SCOPE
from acme.drawing import SIDE, portrait
from acme.gate import Gate
from acme.google_error import not_found
from acme.people import Person
from acme.records import photo_etag
from acme.reply import reply
from acme.tenant import Tenant
from acme.user_key import listed


class Photos:
    def __init__(self, tenant: Tenant, gate: Gate) -> None:
        self._tenant = tenant
        self._gate = gate

    def routes(self) -> list[Route]:
        thumbnail = "/admin/directory/v1/users/{user_key}/photos/thumbnail"
        return [
            Route("/photos/{person_id}", self._picture),
            Route(thumbnail, self._gate.before(self._thumbnail, USER_SCOPE)),
        ]

    async def _picture(self, request: Request) -> Response:
        headers = {"Cache-Control": "public, max-age=86400"}
        return Response(portrait(request.path_params["person_id"]), 200, headers, "image/png")

    async def _thumbnail(self, request: Request) -> Response:
        person = listed(self._tenant, request.path_params["user_key"])
        if not person.has_photo:
            raise not_found("photo")
        return reply(request, msgspec.json.encode(_resource(person)), photo_etag(person))


def _resource(person: Person) -> dict[str, str | int]:
    """Web-safe base64 with `=` at the end, as Google really sends it; its documents name other padding."""
    return {
        "kind": "admin#directory#user#photo",
        "id": person.id,
        "etag": photo_etag(person),
        "primaryEmail": person.email,
        "mimeType": "image/png",
        "height": SIDE,
        "width": SIDE,
        "photoData": urlsafe_b64encode(portrait(person.id)).decode(),
    }
