"""Errors as Google's interfaces word them."""

import msgspec
from starlette.requests import Request
from starlette.responses import Response


class GoogleError(Exception):
    """Answered as `{"error": {"code", "message", "errors": [{"domain", "reason", "message"}]}}`."""

    def __init__(self, status: int, reason: str, message: str, domain: str = "global") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.domain = domain

    def body(self) -> bytes:
        detail = {"domain": self.domain, "reason": self.reason, "message": self.message}
        return msgspec.json.encode(
            {"error": {"code": self.status, "message": self.message, "errors": [detail]}}
        )


class OAuthError(Exception):
    """Answered as `{"error", "error_description"}`."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.error = error
        self.description = description

    def body(self) -> bytes:
        return msgspec.json.encode({"error": self.error, "error_description": self.description})


def invalid(what: str) -> GoogleError:
    return GoogleError(400, "invalid", f"Invalid Input: {what}")


def not_found(what: str) -> GoogleError:
    return GoogleError(404, "notFound", f"Resource Not Found: {what}")


async def answer(_: Request, error: Exception) -> Response:
    """Starlette's exception handler for both."""
    if not isinstance(error, GoogleError | OAuthError):
        raise error
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return Response(error.body(), error.status, headers, "application/json; charset=UTF-8")
