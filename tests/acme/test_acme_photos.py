"""users.photos.get."""

from __future__ import annotations

import struct
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.acme.conftest import Sandbox

ADA = "/users/ada@acme.test/photos/thumbnail"


def test_a_photo_is_the_picture_at_the_persons_address(acme: Sandbox) -> None:
    ada = acme.get("/users/ada@acme.test").json()
    photo = acme.get(ADA).json()
    picture = urlsafe_b64decode(photo["photoData"])

    assert picture == acme.http.get(ada["thumbnailPhotoUrl"]).content
    assert struct.unpack(">II", picture[16:24]) == (photo["width"], photo["height"])
    assert (photo["id"], photo["primaryEmail"], photo["mimeType"]) == (
        ada["id"],
        "ada@acme.test",
        "image/png",
    )
    assert photo["etag"] == ada["thumbnailPhotoEtag"]


def test_a_photo_is_found_by_id_and_spared_by_its_etag(acme: Sandbox) -> None:
    photo = acme.get(ADA)

    assert acme.get(f"/users/{photo.json()['id']}/photos/thumbnail").json() == photo.json()
    again = acme.get(ADA, headers={"If-None-Match": photo.headers["etag"]})
    assert (again.status_code, photo.headers["etag"]) == (304, photo.json()["etag"])


def test_who_has_no_photo_has_none(acme: Sandbox) -> None:
    user = acme.order("people/ada@acme.test", hasPhoto=False)["user"]
    reply = acme.get(ADA)

    assert "thumbnailPhotoEtag" not in user
    assert reply.status_code == 404
    error = reply.json()["error"]
    assert (error["message"], error["errors"][0]["reason"]) == ("Resource Not Found: photo", "notFound")


def test_strangers_and_the_deleted_have_no_photo_either(acme: Sandbox) -> None:
    acme.order("people/ben@acme.test", deleted=True)

    assert acme.get("/users/nobody@acme.test/photos/thumbnail").status_code == 404
    assert acme.get("/users/ben@acme.test/photos/thumbnail").status_code == 412
