"""A mail server on loopback that keeps what it takes."""

import asyncio
import contextlib
import email
from collections.abc import AsyncIterator
from email.header import decode_header, make_header
from email.message import Message

from aiosmtpd.smtp import SMTP, Envelope, Session


class MailSink:
    def __init__(self) -> None:
        self.kept: list[Message] = []
        self.port = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  aiosmtpd's name
        content = envelope.content
        self.kept.append(email.message_from_bytes(content if isinstance(content, bytes) else b""))
        return "250 OK"

    @property
    def url(self) -> str:
        return f"mailto://127.0.0.1:{self.port}?from=muster@acme.test&to=oncall@acme.test&mode=insecure"

    @property
    def titles(self) -> list[str]:
        """Of everything but canaries."""
        subjects = [str(make_header(decode_header(one["subject"]))) for one in self.kept]
        return [one for one in subjects if "canary" not in one]


@contextlib.asynccontextmanager
async def mail_sink() -> AsyncIterator[MailSink]:
    sink = MailSink()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(sink), "127.0.0.1", 0)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
