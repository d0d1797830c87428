"""Photos: asked for once, kept for an hour, and nothing but pictures."""

import asyncio
from base64 import urlsafe_b64encode
from typing import Any

import httpx2
import pytest
from tests.town import Town

from muster.people.google_api import Credentials, GoogleApi
from muster.people.google_directory import GoogleDirectory, Photo
from muster.people.photos import LARGEST_BYTES, Photos
from muster.people.throttle import Throttle
from muster.platform.cache import Cache
from muster.platform.redis import connect_briefly

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
async def people(town: Town) -> Town:
    await town.portal.sync.run()
    return town


async def _somebody(town: Town, *, with_photo: bool = True) -> str:
    return str(
        await town.value(
            "SELECT google_id FROM people WHERE (photo_etag <> '') = %s AND removed_at IS NULL LIMIT 1",
            with_photo,
        )
    )


async def _asked(town: Town) -> int:
    """How often the sandbox was asked for a photo."""
    calls = (await town.sandbox.ask("requests"))["requests"]
    return sum(call["path"].endswith("/photos/thumbnail") for call in calls)


async def _fault(town: Town, google_id: str, kind: str, **how: Any) -> None:
    path = f"/admin/directory/v1/users/{google_id}/photos/thumbnail"
    await town.sandbox.tell("faults", {"path": path, "kind": kind, **how})


async def test_a_photo_is_shown_from_here_and_asked_for_once(people: Town):
    google_id = await _somebody(people)
    async with people.signed_in("cy@acme.test") as cy:
        page = (await cy.get(f"/people/{google_id}")).text
        answers = await asyncio.gather(*(cy.get(f"/people/{google_id}/photo") for _ in range(5)))
        again = await cy.get(
            f"/people/{google_id}/photo", headers={"if-none-match": answers[0].headers["etag"]}
        )

    assert f'src="/people/{google_id}/photo?v=' in page
    for answer in answers:
        assert answer.status_code == 200
        assert answer.content.startswith(PNG)
        assert answer.headers["content-type"] == "image/png"
        assert answer.headers["cache-control"] == "private, max-age=3600"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "sandbox" in answer.headers["content-security-policy"]
    assert (again.status_code, again.content) == (304, b"")
    assert await _asked(people) == 1
    kept = [key for key in await people.keys() if ":photo:" in key]
    assert len(kept) == 1
    assert 3200 < await people.portal.redis.ttl(kept[0]) <= 3600


async def test_whoever_has_no_photo_is_shown_by_initials_and_google_is_not_asked(people: Town):
    google_id = await _somebody(people, with_photo=False)
    async with people.signed_in("cy@acme.test") as cy:
        page = (await cy.get(f"/people/{google_id}")).text
        answer = await cy.get(f"/people/{google_id}/photo")

    assert "/photo?v=" not in page
    assert answer.status_code == 404
    assert await _asked(people) == 0


async def test_a_stranger_sees_no_photo(people: Town):
    google_id = await _somebody(people)
    async with people.visitor() as stranger:
        assert (await stranger.get(f"/people/{google_id}/photo")).status_code == 303


async def test_while_google_is_away_there_is_no_photo_and_it_is_not_asked_again_at_once(people: Town):
    google_id = await _somebody(people)
    await _fault(people, google_id, "backendError", times=5)
    async with people.signed_in("cy@acme.test") as cy:
        first = await cy.get(f"/people/{google_id}/photo")
        second = await cy.get(f"/people/{google_id}/photo")

    assert (first.status_code, second.status_code) == (404, 404)
    assert await _asked(people) == 1
    (kept,) = [key for key in await people.keys() if ":photo:" in key]
    assert 200 < await people.portal.redis.ttl(kept) <= 330


async def test_a_page_does_not_wait_for_a_slow_google(people: Town):
    google_id = await _somebody(people)
    await _fault(people, google_id, "slow", seconds=8)
    loop = asyncio.get_running_loop()
    async with people.signed_in("cy@acme.test") as cy:
        began = loop.time()
        answer = await cy.get(f"/people/{google_id}/photo")

    assert answer.status_code == 404
    assert loop.time() - began < 5


async def test_without_redis_a_photo_is_shown_all_the_same(people: Town):
    google_id = await _somebody(people)
    nobody = Cache(connect_briefly("redis://127.0.0.1:1"))
    try:
        photo = await Photos(people.portal.directory, nobody).find(google_id, "etag")
    finally:
        await nobody.close()

    assert photo is not None
    assert photo.content.startswith(PNG)


def _google_that_sends(content: bytes, town: Town) -> GoogleDirectory:
    """Google, whose every photo is `content` and called a PNG."""
    photo = {"photoData": urlsafe_b64encode(content).decode(), "mimeType": "image/png"}

    def answer(request: httpx2.Request) -> httpx2.Response:
        is_token = request.method == "POST"
        return httpx2.Response(200, json={"access_token": "t", "expires_in": 60} if is_token else photo)

    http = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    account = town.portal.settings.google_service_account
    assert account
    credentials = Credentials(http, service_account=account.reveal(), admin_email="ada@acme.test")
    return GoogleDirectory(
        GoogleApi(http, credentials, Throttle()), base_url="http://127.0.0.1:1", customer="my_customer"
    )


@pytest.mark.parametrize(
    "content",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"<!doctype html><script>alert(1)</script>",
        b"",
        b"BM123456",
        PNG + b"\0" * LARGEST_BYTES,
    ],
    ids=["svg", "html", "empty", "bmp", "too large"],
)
async def test_what_is_no_picture_is_never_shown_whatever_it_is_called(town: Town, content: bytes):
    photos = Photos(_google_that_sends(content, town), town.portal.cache)

    assert await photos.find("1", "etag") is None
    assert await photos.find("1", "etag") is None  # from what is kept


@pytest.mark.parametrize(
    ("start", "media_type"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a", "image/gif"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "image/webp"),
    ],
)
async def test_a_picture_is_named_by_its_first_bytes(town: Town, start: bytes, media_type: str):
    photos = Photos(_google_that_sends(start + b"rest", town), town.portal.cache)

    for _ in ("asked", "kept"):
        photo = await photos.find("1", "etag")
        assert photo == Photo(start + b"rest", media_type)
