"""ID tokens: the honest ones, and the forged ones a script has asked for."""

import hmac
import time
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import Any, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from acme.accounts import Account
from acme.identity import CLIENT_ID, Identity
from acme.safe import Key, Safe, new_key

LIFE_SECONDS = 3_600
Claims = dict[str, Any]


class Forgery(msgspec.Struct, forbid_unknown_fields=True):
    """What to falsify in the next `times` sign-ins. A claim or response field of null is taken away.

    `again` are claims said once more, behind the others. `sealed` is the algorithm of the signature,
    with the right key or one of the right kind; the header says what it says.
    """

    claims: Claims = {}
    again: Claims = {}
    header: dict[str, Any] = {}
    key: Literal[
        "", "unknown", "other-same-kid", "other-kid", "embedded", "hs256-with-public-key", "none"
    ] = ""
    sealed: Literal["RS256", "RS512", "PS256", "ES256"] = "RS256"
    response: dict[str, Any] = {}
    times: int = 1


_HONEST = Forgery()


class IdTokens:
    def __init__(self, identity: Identity, safe: Safe) -> None:
        self._identity = identity
        self._safe = safe
        self._forgeries: list[Forgery] = []
        self._loaded: dict[str, RSAPrivateKey] = {}
        self._stranger: Key | None = None

    def forge(self, forgery: Forgery) -> None:
        self._forgeries.append(forgery)

    def reset(self) -> None:
        self._forgeries.clear()

    def response(self, account: Account, nonce: str | None, scope: str, access_token: str) -> dict[str, Any]:
        """The token endpoint's answer to a good code."""
        forgery = self._next_forgery()
        claims = overridden(self._claims(account, nonce, access_token), forgery.claims)
        answer = {
            "access_token": access_token,
            "expires_in": LIFE_SECONDS - 1,
            "scope": scope,
            "token_type": "Bearer",
            "id_token": self._signed(claims, forgery),
        }
        return overridden(answer, forgery.response)

    def published_keys(self) -> dict[str, Any]:
        return {"keys": [self._public(key) for key in self._safe.secrets.signing]}

    def _next_forgery(self) -> Forgery:
        if not self._forgeries:
            return _HONEST
        forgery = self._forgeries[0]
        forgery.times -= 1
        if forgery.times <= 0:
            del self._forgeries[0]
        return forgery

    def _claims(self, account: Account, nonce: str | None, access_token: str) -> Claims:
        now = int(time.time())
        claims = {
            "iss": self._identity.issuer,
            "azp": CLIENT_ID,
            "aud": CLIENT_ID,
            "at_hash": _base64(sha256(access_token.encode()).digest()[:16]),
            "iat": now,
            "exp": now + LIFE_SECONDS,
        } | account.profile()
        return claims | {"nonce": nonce} if nonce is not None else claims

    def _signed(self, claims: Claims, forgery: Forgery) -> str:
        key = self._safe.secrets.signing[0]
        header = overridden({"kid": key.kid}, forgery.header)
        match forgery.key:
            case "none":
                return _unsigned(claims, {"alg": "none", "typ": "JWT", **header}) + "."
            case "hs256-with-public-key":
                return self._signed_with_public_key(claims, {"alg": "HS256", "typ": "JWT", **header})
            case "unknown":
                key = self._get_stranger()
                header = overridden({"kid": key.kid}, forgery.header)
            case "other-same-kid":
                key = self._get_stranger()
            case "other-kid":  # published, too, once the keys were rotated
                header = overridden({"kid": self._safe.secrets.signing[-1].kid}, forgery.header)
            case "embedded":
                key = self._get_stranger()
                header = overridden({"kid": key.kid, "jwk": self._public(key)}, forgery.header)
        # By hand: libraries refuse some of what a forger writes.
        text = _unsigned(claims, {"alg": forgery.sealed, "typ": "JWT", **header}, forgery.again)
        return f"{text}.{_base64(self._seal(text.encode(), key, forgery.sealed))}"

    def _seal(self, text: bytes, key: Key, algorithm: str) -> bytes:
        signer = jwt.get_algorithm_by_name(algorithm)
        private: Any = generate_private_key(SECP256R1()) if algorithm == "ES256" else self._private(key)
        return signer.sign(text, private)

    def _public(self, key: Key) -> dict[str, Any]:
        return RSAAlgorithm.to_jwk(self._private(key).public_key(), as_dict=True) | {
            "kid": key.kid,
            "use": "sig",
            "alg": "RS256",
        }

    def _signed_with_public_key(self, claims: Claims, header: dict[str, Any]) -> str:
        """The old trick on verifiers that let the token choose its algorithm."""
        public = self._private(self._safe.secrets.signing[0]).public_key()
        secret = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        text = _unsigned(claims, header)
        return f"{text}.{_base64(hmac.digest(secret, text.encode(), 'sha256'))}"

    def _get_stranger(self) -> Key:
        if self._stranger is None:
            self._stranger = new_key()
        return self._stranger

    def _private(self, key: Key) -> RSAPrivateKey:
        """Reading a key costs more than signing with it."""
        if key.kid not in self._loaded:
            self._loaded[key.kid] = key.private
        return self._loaded[key.kid]


def overridden(fields: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (fields | changes).items() if value is not None}


def _unsigned(claims: Claims, header: dict[str, Any], again: Claims | None = None) -> str:
    said = msgspec.json.encode(claims)
    if again:
        said = said[:-1] + b"," + msgspec.json.encode(again)[1:]
    return f"{_base64(msgspec.json.encode(header))}.{_base64(said)}"


def _base64(content: bytes) -> str:
    return urlsafe_b64encode(content).decode().rstrip("=")
