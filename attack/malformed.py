"""Malformed requests over every route of the table, by people and by nobody, on bare sockets."""

import asyncio
import base64
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import psutil

from attack.finding import Outcome
from attack.ground import Ground

AT_ONCE = 16
DEADLINE = 20.0
MOST_GROWN_BYTES = 150 * 2**20
SHOWN = 20
STAY_IN_EVERY = 250
"""Requests after which is looked whether people are still signed in: some of them end sessions."""

_PARAMETER = re.compile(r"\{\w+(?::\w+)?\}")
_LEAKS = re.compile(rb"Traceback \(most recent|/src/muster/|site-packages|psycopg\.|redis\.exceptions")
_HARMFUL = frozenset({"/sign-out", "/checklist/proofs", "/account/sessions/ended"})
"""Not asked for in earnest: they would end the session that attacks, or take seconds."""


@dataclass(slots=True)
class Tally:
    statuses: Counter[str] = field(default_factory=Counter)
    findings: Counter[str] = field(default_factory=Counter)


class Maker:
    """Makes requests that are wrong in some way; the same ones for the same seed."""

    def __init__(self, ground: Ground, seed: int) -> None:
        self._ground = ground
        self._names: tuple[str, ...] = _NAMES
        self._chance = random.Random(seed)  # noqa: S311  to be repeated, not to be secret

    def request(self) -> bytes:
        if self._chance.random() < 0.06:
            return self._chance.choice(_BROKEN_HTTP)(self._chance)
        chance = self._chance
        route = chance.choice(self._ground.routes)
        method = route.method if chance.random() < 0.8 else chance.choice(_METHODS)
        self._names = (*_NAMES, *(route.reads.__struct_encode_fields__ * 6 if route.reads else ()))
        body = b"" if method == "GET" and chance.random() < 0.8 else self._body()
        head = [
            f"{method} {self._path(route.path)}{self._query()} HTTP/1.1".encode("latin-1", "replace"),
            f"host: 127.0.0.1:{self._ground.port}".encode(),
            b"connection: close",
            f"content-length: {len(body)}".encode(),
            *self._who(in_earnest=route.path not in _HARMFUL),
            *self._odd_headers(),
        ]
        return b"\r\n".join(head) + b"\r\n\r\n" + body

    def _path(self, path: str) -> str:
        filled = _PARAMETER.sub(lambda _: self._chance.choice(_VALUES), path)
        return filled if self._chance.random() < 0.85 else filled + self._chance.choice(_VALUES)

    def _query(self) -> str:
        if self._chance.random() < 0.4:
            return ""
        pairs = [
            f"{self._chance.choice(self._names)}={self._chance.choice(_VALUES)}"
            for _ in range(self._chance.randint(1, 4))
        ]
        return "?" + "&".join(pairs)

    def _who(self, *, in_earnest: bool) -> list[bytes]:
        who = self._chance.choice(["ada", "ada", "ben", "cy", ""])
        if not who:
            return [self._chance.choice(_COOKIES)]
        headers = [f"cookie: muster_session={self._ground.sessions[who]}".encode()]
        if in_earnest and self._chance.random() < 0.6:
            headers.append(f"x-csrf-token: {self._ground.forms[who]}".encode())
        return headers

    def _odd_headers(self) -> list[bytes]:
        return [self._chance.choice(_HEADERS) for _ in range(self._chance.randint(0, 3))]

    def _body(self) -> bytes:
        made = self._chance.choice(_BODIES)(self._chance, self._names)
        return made[: self._chance.choice([10, 1_000, 100_000])]


async def attack(ground: Ground, *, times: int, seed: int) -> Outcome:
    """Send `times` requests. Found is: an answer of 5xx, none within the deadline, one that tells of the
    code, lacks the protective headers or hands out a session, a process that died or grew.
    """
    maker, tally = Maker(ground, seed), Tally()
    before = ground.web.memory_info().rss
    left = iter(range(times))

    async def attacker() -> None:
        for number in left:
            if number % STAY_IN_EVERY == 0:
                await ground.stay_in()
            await _try(ground, maker.request(), tally)

    await asyncio.gather(*(attacker() for _ in range(AT_ONCE)))
    grown = _grown(ground, before, tally)
    told = ", ".join(f"{count} × {status}" for status, count in tally.statuses.most_common(8))
    bound = f"0 of {times:,}, at most {3 / times:.4%} at 95 %" if not tally.findings else "see below"
    return Outcome(
        attack="malformed requests",
        tried=times,
        detail=f"seed {seed}; {told}; memory grew by {grown // 2**20} MB; {bound}",
        findings=[f"{count} × {what}" for what, count in tally.findings.most_common(SHOWN)],
    )


def _grown(ground: Ground, before: int, tally: Tally) -> int:
    try:
        grown = ground.web.memory_info().rss - before
    except psutil.NoSuchProcess:
        tally.findings["the web process died"] += 1
        return 0
    if grown > MOST_GROWN_BYTES:
        tally.findings[f"the web process grew by {grown // 2**20} MB"] += 1
    return grown


async def _try(ground: Ground, request: bytes, tally: Tally) -> None:
    first = request.partition(b"\r\n")[0][:6000]
    try:
        async with asyncio.timeout(DEADLINE):
            answer = await _sent(ground.port, request)
    except TimeoutError:
        tally.findings[f"no answer within {DEADLINE:.0f} s: {first!r}"] += 1
        return
    except OSError as error:
        tally.statuses[f"cut off ({type(error).__name__})"] += 1
        return
    for what in judged(answer):
        tally.findings[f"{what}: {first!r}"] += 1
    tally.statuses[answer[9:12].decode("latin-1") or "cut off"] += 1


async def _sent(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        if request.endswith(_CLOSE_AFTER):
            writer.write_eof()
        return await reader.read(-1)
    finally:
        writer.close()


def judged(answer: bytes) -> list[str]:
    """What is wrong with an answer. One of HTTP's own layer (400, 431) comes before the portal."""
    while answer.startswith(b"HTTP/1.1 100"):  # go on; the answer itself comes after
        answer = answer.partition(b"\r\n\r\n")[2]
    head, _, body = answer.partition(b"\r\n\r\n")
    status, lowered, wrong = head[9:12], head.lower(), []
    if status.startswith(b"5"):
        wrong.append(f"answered {status.decode()}")
    if _LEAKS.search(body):
        wrong.append("told of the code")
    if b"set-cookie: muster_session=" in lowered and b"max-age=0" not in lowered:
        wrong.append("handed out a session")
    if status and status not in {b"400", b"431"}:
        wrong += [f"without {name.decode()}" for name in _PROTECTING if name not in lowered]
    return wrong


_PROTECTING = (b"x-content-type-options: nosniff", b"content-security-policy:", b"x-request-id:")
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "PURGE")
_NAMES = (
    *("q", "sort", "status", "after", "before", "limit", "from", "until", "who", "action", "subject"),
    *("kind", "role", "name", "since", "as_of", "next", "state", "code", "login_hint", "a[]", "", "%00"),
)
_VALUES = (
    *("1", "0", "-1", "99999999999999999999", "1e309", "NaN", "null", "true", "[]", "{}", "", "%", "%%%"),
    *(
        "%00",
        "%ff%fe",
        "%F0%9F%A6%8A",
        "..%2f..%2fetc%2fpasswd",
        "../../etc/passwd",
        "%0d%0aset-cookie:%20a=b",
    ),
    *(
        "'%20OR%201=1--",
        "%22;DROP%20TABLE%20people",
        "{{7*7}}",
        "${7*7}",
        "%3Cscript%3Ealert(1)%3C/script%3E",
    ),
    *("http://169.254.169.254/", "//evil.test", "javascript:alert(1)", "name", "-name", "active", "joined"),
    *(
        "a" * 200,
        "a" * 4000,
        "%C0%AE%C0%AE",
        "\u00e9",
        "W10",
        base64.urlsafe_b64encode(b'["x","y","z"]').decode(),
        base64.urlsafe_b64encode(b'["name","y","1",' + b"[" * 3_000).decode(),
    ),
    *("2026-13-45", "0000-00-00", "9999-12-31", "ada@acme.test", "100000000000000000000", "0x10", "1_000"),
)
_JSON_VALUES: tuple[object, ...] = (
    None,
    True,
    1,
    -1,
    2**63,
    2**64,
    1e308,
    "",
    "\0",
    "x" * 5_000,
    [],
    ["a"],
    {},
    {"a": 1},
)
_COOKIES = (
    *(
        b"cookie: ",
        b"cookie: muster_session=",
        b"cookie: muster_session=../../x",
        b"cookie: =;;;=",
        b"x-none: 1",
    ),
    *(
        b"cookie: muster_session=" + b"a" * 3000,
        b"cookie: muster_session=\xff\xfe",
        b"cookie: muster_session=all",
    ),
    *(b"authorization: Bearer x", b"authorization: Basic eDp5", b"authorization: Bearer muster_" + b"x" * 43),
)
_HEADERS = (
    *(
        b"accept: */*",
        b"accept: application/json",
        b"accept: text/html",
        b"accept: \xff",
        b"range: bytes=0-,-1",
    ),
    *(
        b"content-type: application/json",
        b"content-type: application/x-www-form-urlencoded",
        b"content-type: ",
    ),
    *(
        b"content-type: multipart/form-data",
        b"content-type: multipart/form-data; boundary=x",
        b"expect: 100-continue",
    ),
    *(
        b"content-type: text/plain; charset=utf-7",
        b"origin: https://evil.test",
        b"origin: null",
        b"origin: http://[x",
    ),
    *(
        b"sec-fetch-site: cross-site",
        b"x-forwarded-for: 1.2.3.4",
        b"x-forwarded-host: evil.test",
        b"x-request-id: a b",
    ),
    *(
        b"x-request-id: " + b"x" * 500,
        b"if-modified-since: never",
        b"if-none-match: " + b"*" * 90,
        b"cookie: a=b",
    ),
    *(
        b"x-http-method-override: DELETE",
        b"accept-encoding: gzip;q=9, br",
        b"user-agent: \x01\x02",
        b"te: trailers",
    ),
)


def _noise(chance: random.Random, _: Sequence[str] = ()) -> bytes:
    return chance.randbytes(chance.randint(0, 3_000))


def _form(chance: random.Random, names: Sequence[str]) -> bytes:
    return "&".join(
        f"{chance.choice(names)}={chance.choice(_VALUES)}" for _ in range(chance.randint(0, 40))
    ).encode()


def _json(chance: random.Random, names: Sequence[str]) -> bytes:
    deep = chance.randint(1, 3_000)
    of_fields = {name: chance.choice(_JSON_VALUES) for name in chance.choices(names, k=6)}
    return chance.choice(
        [
            b"{" * deep,
            b"[" * deep + b"]" * deep,
            b'{"a":' * deep + b"1" + b"}" * deep,
            b'{"role":"admin","role":"x"}',
            b'"' + b"\\u0000" * deep + b'"',
            b"1" * deep,
            b'{"holder":null,"days":1e999,"is_sure":"yes"}',
            b"\xef\xbb\xbf{}",
            b"[]",
            msgspec.json.encode(of_fields),
        ]
    )


def _multipart(chance: random.Random, _: Sequence[str]) -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="csrf"; filename="../x"\r\n\r\n' + _noise(chance)
    return (part + b"\r\n") * chance.randint(1, 30) + chance.choice([b"", b"--x--", b"--x--\r\n"])


_BODIES: tuple[Callable[[random.Random, Sequence[str]], bytes], ...] = (_noise, _form, _json, _multipart)

_CLOSE_AFTER = b"<then nothing>"


def _broken(text: bytes) -> Callable[[random.Random], bytes]:
    return lambda _: text


_HOST = b"\r\nhost: 127.0.0.1\r\nconnection: close\r\n"
_BROKEN_HTTP: tuple[Callable[[random.Random], bytes], ...] = (
    lambda chance: chance.randbytes(200) + b"\r\n\r\n",
    _broken(b"GET / HTTP/9.9" + _HOST + b"\r\n"),
    _broken(b"GET /" + b"a" * 70_000 + b" HTTP/1.1" + _HOST + b"\r\n"),
    _broken(b"GET / HTTP/1.1" + _HOST + b"x: " + b"y" * 70_000 + b"\r\n\r\n"),
    _broken(b"GET / HTTP/1.1" + _HOST + b"x: y\r\n" * 5_000 + b"\r\n"),
    _broken(b"GET /\x00 HTTP/1.1" + _HOST + b"\r\n"),
    _broken(b"GET / HTTP/1.1" + _HOST + b"bad header\r\n\r\n"),
    _broken(b"GET / HTTP/1.1" + _HOST + b"x\x00: y\r\n\r\n"),
    _broken(b"POST /sign-out HTTP/1.1" + _HOST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nabcdef"),
    _broken(b"POST /sign-out HTTP/1.1" + _HOST + b"content-length: -1\r\n\r\n"),
    _broken(b"POST /sign-out HTTP/1.1" + _HOST + b"content-length: 0x5\r\n\r\nabcde"),
    _broken(b"POST /sign-out HTTP/1.1" + _HOST + b"transfer-encoding: chunked\r\n\r\nZZ\r\nx\r\n0\r\n\r\n"),
    _broken(b"POST /sign-out HTTP/1.1" + _HOST + b"transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nx"),
    _broken(
        b"POST /sign-out HTTP/1.1" + _HOST + b"content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\n\r\nGET /admin/roles HTTP/1.1\r\nhost: x\r\n\r\n"
    ),
    _broken(b"POST /sign-out HTTP/1.1" + _HOST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n"),
    _broken(b"GET http://evil.test/ HTTP/1.1" + _HOST + b"\r\n"),
    _broken(b"GET / HTTP/1.1\r\n\r\n"),
    _broken(b"\r\n\r\n\r\nGET / HTTP/1.1" + _HOST + b"\r\n"),
    _broken(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
)
