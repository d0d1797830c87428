"""Sign-in with Google: OpenID Connect with code and PKCE, every claim checked on the server.

Google's own account of it: https://developers.google.com/identity/openid-connect/openid-connect
"""

import asyncio
import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import httpx2
import jwt
import msgspec

from muster.access.account import Identity
from muster.errors import NotAllowed, VendorDown, VendorRefused
from muster.platform.addresses import hostname, is_loopback
from muster.platform.redis import SESSIONS, Redis, answering
from muster.platform.vault import SealBroken, Vault

ATTEMPT_LIFETIME = timedelta(minutes=10)
METADATA_LIFETIME = timedelta(hours=1)
CLOCK_SKEW = timedelta(seconds=10)

_TOKEN_LENGTH = 43
"""Characters of `secrets.token_urlsafe(32)`."""

_PROBE_REDIRECT = "http://127.0.0.1/sign-in/google/callback"
_GOOGLE_ISSUERS = ("https://accounts.google.com", "accounts.google.com")
_MAX_AGE = re.compile(r"max-age=(\d+)")


class SignInRefused(NotAllowed):
    """Not somebody who may come in, or not a sign-in that began here."""

    code = "sign_in_refused"


class Metadata(msgspec.Struct, frozen=True):
    """The part of the discovery document that is used."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class _Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """A sign-in under way, kept sealed under the hash of its state and read once."""

    nonce: str
    verifier: str
    browser: str
    next: str
    redirect_uri: str


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class _TokenError(msgspec.Struct, frozen=True):
    error: str = ""


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the browser, and the cookie by which it is known again."""

    url: str
    browser: str


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    identity: Identity
    next: str


class GoogleSignIn:
    def __init__(
        self,
        http: httpx2.AsyncClient,
        redis: Redis,
        vault: Vault,
        *,
        issuer: str,
        client_id: str,
        client_secret: str,
        allowed_domains: Sequence[str],
    ) -> None:
        self._http = http
        self._redis = redis
        self._vault = vault
        self._issuer = issuer
        self._client_id = client_id
        self._client_secret = client_secret
        self._allowed_domains = frozenset(allowed_domains)
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, dict[str, jwt.PyJWK]] | None = None
        self._fetching = asyncio.Lock()

    async def begin(
        self, *, next_path: str, redirect_uri: str, login_hint: str = "", browser: str = ""
    ) -> Begun:
        """Start a sign-in that ends at `redirect_uri` and then goes on to `next_path`.

        `browser` is by what it is known from another sign-in under way, say in another tab.
        """
        metadata = await self.metadata()
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        browser = browser if len(browser) == _TOKEN_LENGTH else secrets.token_urlsafe(32)
        attempt = _Attempt(
            nonce=nonce,
            verifier=verifier,
            browser=_digest(browser),
            next=next_path,
            redirect_uri=redirect_uri,
        )
        with answering():
            await self._redis.set(
                _attempt_key(state),
                self._vault.seal(msgspec.json.encode(attempt), _attempt_key(state)),
                ex=ATTEMPT_LIFETIME,
            )
        query = {
            "client_id": self._client_id,
            "response_type": "code",
            "scope": "openid email profile",
            "redirect_uri": redirect_uri,
            "state": state,
            "nonce": nonce,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
            "prompt": "select_account",
            # Only a hint to Google's page; what counts is the claim in the verified token.
            "hd": next(iter(self._allowed_domains)) if len(self._allowed_domains) == 1 else "*",
        }
        if login_hint:
            query["login_hint"] = login_hint
            if is_loopback(hostname(self._issuer)):
                # The sandbox company takes the hint for the choice. Google is to ask all the same: a link
                # of another site's must not sign anybody in by itself.
                del query["prompt"]
        return Begun(url=f"{metadata.authorization_endpoint}?{urlencode(query)}", browser=browser)

    async def finish(self, *, state: str, code: str, browser: str, issuer: str = "") -> Finished:
        """Whom Google vouches for. Raises SignInRefused, saying which check failed in words for a page.

        `issuer` is who the answer says it is from, against mix-ups (RFC 9207).
        """
        if issuer and issuer not in self._issuers():
            raise SignInRefused("This answer is not Google's. Please start again.")
        with answering():
            kept: Any = await self._redis.getdel(_attempt_key(state))
        if not kept:
            raise SignInRefused("This sign-in has expired or was already used. Please start again.")
        try:
            attempt = msgspec.json.decode(self._vault.open(kept, _attempt_key(state)), type=_Attempt)
        except SealBroken as error:
            raise SignInRefused("This sign-in cannot be finished. Please start again.") from error
        if not hmac.compare_digest(attempt.browser, _digest(browser)):
            raise SignInRefused("This sign-in was begun in another browser. Please start again.")
        tokens = await self._exchange(code, attempt)
        claims = await self.verified(tokens.id_token)
        if "at_hash" in claims and claims["at_hash"] != _half_digest(tokens.access_token):
            raise SignInRefused("Google's answer is put together from two. Please start again.")
        if not hmac.compare_digest(str(claims.get("nonce", "")), attempt.nonce):
            raise SignInRefused("Google's answer belongs to another sign-in. Please start again.")
        return Finished(identity=self.identity(claims), next=attempt.next)

    async def metadata(self, *, fresh: bool = False) -> Metadata:
        """Google's addresses, read once an hour. Raises VendorError when they cannot be had."""
        if self._metadata and self._metadata[0] > time.monotonic() and not fresh:
            return self._metadata[1]
        response = await self._get(f"{self._issuer}/.well-known/openid-configuration")
        try:
            found = msgspec.json.decode(response.content, type=Metadata)
        except msgspec.DecodeError as error:
            raise VendorRefused("Google", "its sign-in description is not readable") from error
        if found.issuer not in self._issuers():
            raise VendorRefused("Google", f"it calls itself {found.issuer}, not {self._issuer}")
        self._metadata = (time.monotonic() + METADATA_LIFETIME.total_seconds(), found)
        return found

    async def signing_keys(self, *, fresh: bool = False) -> dict[str, jwt.PyJWK]:
        """Key id → key, kept as long as Google's Cache-Control says."""
        async with self._fetching:
            if self._keys and self._keys[0] > time.monotonic() and not fresh:
                return self._keys[1]
            response = await self._get((await self.metadata()).jwks_uri)
            age = _MAX_AGE.search(response.headers.get("cache-control", ""))
            lifetime = min(int(age.group(1)) if age else 300, 24 * 3600)
            try:
                keys = {key.key_id: key for key in jwt.PyJWKSet.from_dict(response.json()).keys if key.key_id}
            except (jwt.PyJWTError, ValueError) as error:
                raise VendorRefused("Google", "its signing keys are not readable") from error
            self._keys = (time.monotonic() + lifetime, keys)
            return keys

    async def check_client(self) -> None:
        """Raises VendorRefused unless Google knows our client id and secret.

        A code that was never issued is offered: of a known client Google refuses the code
        (invalid_grant), of an unknown one the client (invalid_client; RFC 6749, section 5.2).
        """
        response = await self._post_token(
            code="never-issued", verifier="x" * 43, redirect_uri=_PROBE_REDIRECT
        )
        error = _error(response)
        if error not in {"invalid_grant", "redirect_uri_mismatch", "invalid_request"}:
            raise VendorRefused(
                "Google", f"it does not know our client id and secret: {error or response.status_code}"
            )

    async def _post_token(self, *, code: str, verifier: str, redirect_uri: str) -> httpx2.Response:
        try:
            response = await self._http.post(
                (await self.metadata()).token_endpoint,
                data={
                    "grant_type": "authorization_code",
                    "code": code,
                    "redirect_uri": redirect_uri,
                    "client_id": self._client_id,
                    "client_secret": self._client_secret,
                    "code_verifier": verifier,
                },
            )
        except httpx2.HTTPError as error:
            raise VendorDown("Google", "sign-in does not answer; try again in a minute") from error
        if response.status_code >= 500:
            raise VendorDown("Google", f"sign-in answered {response.status_code}; try again in a minute")
        return response

    async def _exchange(self, code: str, attempt: _Attempt) -> _Tokens:
        """The tokens for `code`. Never retried: a code is good for one try."""
        response = await self._post_token(
            code=code, verifier=attempt.verifier, redirect_uri=attempt.redirect_uri
        )
        if response.status_code != 200:
            raise SignInRefused("Google did not accept this sign-in. Please start again.")
        try:
            return msgspec.json.decode(response.content, type=_Tokens)
        except msgspec.DecodeError as error:
            raise VendorRefused("Google", "its answer holds no ID token") from error

    async def verified(self, token: str) -> dict[str, Any]:
        """The claims of a token that Google signed for us and that is not out of date."""
        try:
            key = await self._key_for(token)
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["RS256"],
                audience=self._client_id,
                issuer=self._issuers(),
                leeway=CLOCK_SKEW,
                options={"require": ["exp", "iat", "iss", "aud", "sub"], "strict_aud": True},
            )
        except jwt.ExpiredSignatureError as error:
            raise SignInRefused("Google's answer is out of date. Please start again.") from error
        except jwt.PyJWTError as error:
            raise SignInRefused("Google's answer could not be verified. Please start again.") from error
        if claims.get("azp", self._client_id) != self._client_id:
            raise SignInRefused("Google's answer was made for another application.")
        return claims

    async def _key_for(self, token: str) -> jwt.PyJWK:
        header = jwt.get_unverified_header(token)
        if header.get("alg") != "RS256":
            raise jwt.InvalidAlgorithmError("only RS256 is accepted")
        key_id = header.get("kid", "")
        keys = await self.signing_keys()
        if key_id not in keys:
            keys = await self.signing_keys(fresh=True)
        if key_id not in keys:
            raise jwt.InvalidKeyError("signed with a key Google does not publish")
        return keys[key_id]

    def expected_claims(self) -> dict[str, Any]:
        """What a token of one of ours says, but for whose it is; probes bend it."""
        now, domain = int(time.time()), min(self._allowed_domains)
        return {
            "iss": self._issuers()[0],
            "aud": self._client_id,
            "iat": now,
            "exp": now + 300,
            "hd": domain,
            "email": f"somebody@{domain}",
        }

    def identity(self, claims: dict[str, Any]) -> Identity:
        """Raises SignInRefused for claims of somebody who may not come in."""
        # As they stand: folding letters would make ours of domains that only look alike.
        email, domain = claims.get("email"), str(claims.get("hd") or "")
        if claims.get("email_verified") is not True or not isinstance(email, str) or not email:
            raise SignInRefused("Google has not verified this account's e-mail address.")
        if not domain:
            raise SignInRefused(f"{email} is a personal Google account. Please use your company account.")
        if domain not in self._allowed_domains:
            raise SignInRefused(
                f"Accounts of {domain} may not sign in here. Please use your company account."
            )
        if not email.isascii() or email.partition("@")[2].lower() not in self._allowed_domains:
            raise SignInRefused(f"{email} is not an address of {domain}. Please use your company account.")
        return Identity(google_id=str(claims["sub"]), email=email, name=str(claims.get("name") or email))

    def _issuers(self) -> Sequence[str]:
        return _GOOGLE_ISSUERS if self._issuer in _GOOGLE_ISSUERS else (self._issuer,)

    async def _get(self, url: str) -> httpx2.Response:
        try:
            response = await self._http.get(url)
        except httpx2.HTTPError as error:
            raise VendorDown("Google", "sign-in does not answer; try again in a minute") from error
        if response.status_code != 200:
            raise VendorDown("Google", f"sign-in answered {response.status_code}; try again in a minute")
        return response


def _error(response: httpx2.Response) -> str:
    """OAuth's word for what is wrong, or "" for an answer without one."""
    try:
        return msgspec.json.decode(response.content, type=_TokenError).error
    except msgspec.DecodeError:
        return ""


def _attempt_key(state: str) -> str:
    return f"{SESSIONS}attempt:{_digest(state)}"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()


def _half_digest(access_token: str) -> str:
    """https://openid.net/specs/openid-connect-core-1_0.html#CodeIDToken"""
    half = hashlib.sha256(access_token.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()


def _challenge(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
