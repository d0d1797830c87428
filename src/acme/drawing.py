"""Portraits drawn by code: small, flat, and always the same for the same person."""

import struct
import zlib
from hashlib import blake2b
from math import isqrt

SIDE = 160
_BACKGROUNDS = ("dbe7f3", "e3efdc", "f6e6d3", "efe0ee", "dceeee", "f3dfdc", "e9e6d6")
_CLOTHES = ("2f4b6e", "7a3b3b", "3e6250", "5b4a78", "8a6d2f", "33545c", "6b4a3a")
_SKINS = ("f2d3b8", "e0b18c", "c68e63", "9c6a45", "6f4630", "f7dfcc")
_HAIR = ("2b2320", "4a3222", "7a5230", "b08b4f", "8d8a87", "151515", "8c3d21")
_BACKGROUND, _CLOTH, _SKIN, _HAIR_INK = range(4)


def portrait(person_id: str) -> bytes:
    """A PNG of 160 × 160."""
    look = blake2b(person_id.encode(), digest_size=8).digest()
    palette = "".join(
        colours[choice % len(colours)]
        for colours, choice in zip((_BACKGROUNDS, _CLOTHES, _SKINS, _HAIR), look, strict=False)
    )
    rows = [bytearray(SIDE) for _ in range(SIDE)]
    hair_length = 40 + look[4] % 46
    _ellipse(rows, _HAIR_INK, (80, 64 + hair_length // 4), (37 + look[5] % 5, hair_length))
    _ellipse(rows, _CLOTH, (80, 172), (62, 60))
    _ellipse(rows, _SKIN, (80, 112), (15, 22))
    _ellipse(rows, _SKIN, (80, 72), (30, 37))
    _ellipse(rows, _HAIR_INK, (80 - 12 + look[6] % 24, 38), (30, 14 + look[7] % 8))
    return _png(rows, bytes.fromhex(palette))


def _ellipse(rows: list[bytearray], ink: int, centre: tuple[int, int], radii: tuple[int, int]) -> None:
    across, down = radii
    for y in range(max(0, centre[1] - down), min(SIDE, centre[1] + down + 1)):
        half = across * isqrt(down**2 - (y - centre[1]) ** 2) // down
        left, right = max(0, centre[0] - half), min(SIDE, centre[0] + half + 1)
        rows[y][left:right] = bytes([ink]) * (right - left)


def _png(rows: list[bytearray], palette: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 3, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = ((b"IHDR", header), (b"PLTE", palette), (b"IDAT", pixels), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
