"""Errors as HubSpot words them."""

from uuid import uuid4

import msgspec
from starlette.responses import Response


class Detail(msgspec.Struct, frozen=True, omit_defaults=True, rename={"place": "in"}):
    """One of `errors`."""

    message: str
    code: str | None = None
    place: str | None = None
    context: dict[str, list[str]] = {}


class HubSpotError(Exception):
    """Answered as `{"status", "message", "correlationId", "category", …}`, the rest where there is any."""

    def __init__(
        self,
        status: int,
        category: str,
        message: str,
        *,
        errors: tuple[Detail, ...] = (),
        context: dict[str, list[str]] | None = None,
        links: dict[str, str] | None = None,
        sub_category: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.category = category
        self.message = message
        self.errors = errors
        self.context = context or {}
        self.links = links or {}
        self.sub_category = sub_category

    def answer(self) -> Response:
        known = {
            "status": "error",
            "message": self.message,
            "correlationId": str(uuid4()),
            "errors": self.errors,
            "context": self.context,
            "links": self.links,
            "category": self.category,
            "subCategory": self.sub_category,
        }
        return answer({name: value for name, value in known.items() if value}, self.status)

    def in_batch(self) -> dict[str, object]:
        """One of a batch's `errors`; these have a status, and all the collections even if empty."""
        told: dict[str, object] = {
            "status": "error",
            "category": self.category,
            "message": self.message,
            "errors": self.errors,
            "context": self.context,
            "links": self.links,
        }
        return told | ({"subCategory": self.sub_category} if self.sub_category else {})


def answer(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json;charset=utf-8")


def invalid(message: str, *errors: Detail) -> HubSpotError:
    return HubSpotError(400, "VALIDATION_ERROR", message, errors=errors)


def not_found(kind: str, record_id: str) -> HubSpotError:
    return HubSpotError(
        404,
        "OBJECT_NOT_FOUND",
        "Object not found.  objectId are usually numeric.",
        context={"id": [record_id], "objectType": [kind]},
    )


def unauthorized() -> HubSpotError:
    message = (
        "Authentication credentials not found. This API supports OAuth 2.0 authentication and you can find "
        "more details at https://developers.hubspot.com/docs/methods/auth/oauth-overview"
    )
    return HubSpotError(401, "INVALID_AUTHENTICATION", message)


def missing_scopes(scopes: list[str]) -> HubSpotError:
    page = "https://developers.hubspot.com/scopes"
    detail = Detail(
        "One or more of the following scopes are required.", context={"requiredGranularScopes": scopes}
    )
    return HubSpotError(
        403,
        "MISSING_SCOPES",
        "This app hasn't been granted all required scopes to make this call. Read more about required "
        f"scopes here: {page}.",
        errors=(detail,),
        links={"scopes": page},
    )


def unparsable(reason: str) -> HubSpotError:
    return HubSpotError(400, "VALIDATION_ERROR", f"Invalid input JSON: {reason}")
