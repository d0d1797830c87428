"""Whether people can sign in, and only the right ones."""

from collections.abc import Sequence

from muster.access.audit_log import AuditLog
from muster.access.google_signin import GoogleSignIn
from muster.platform.probe import Failed, Probe


class AccessProbes:
    def __init__(self, google: GoogleSignIn, audit: AuditLog, *, allowed_domains: Sequence[str]) -> None:
        self._google = google
        self._audit = audit
        self._allowed_domains = allowed_domains

    def probes(self) -> list[Probe]:
        return [
            Probe(row="signin.discovery", ask=self.discovery),
            Probe(row="audit.chained", ask=self._audit.verify),
        ]

    async def discovery(self) -> str:
        metadata = await self._google.metadata(fresh=True)
        keys = await self._google.signing_keys(fresh=True)
        if not keys:
            raise Failed(f"{metadata.jwks_uri} publishes no signing key")
        await self._google.check_client()
        keys_published = f"{len(keys)} signing key{'' if len(keys) == 1 else 's'}"
        domains = ", ".join(self._allowed_domains)
        return f"{metadata.issuer}, {keys_published}, our client known; {domains} may enter"
