"""What is sealed opens where it was put, unchanged, with a key that is still known; and nowhere else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.platform.vault import SealBroken, Vault

OLD, NEW, OTHER = "o" * 40, "n" * 40, "x" * 40
VAULT = Vault(NEW, [OLD])


@given(plain=st.binary(max_size=500), place=st.text(max_size=50))
def test_what_is_sealed_opens_again_at_its_place(plain: bytes, place: str):
    sealed = VAULT.seal(plain, place)

    assert VAULT.open(sealed, place) == plain
    assert plain not in sealed or len(plain) < 4
    assert VAULT.seal(plain, place) != sealed


@given(place=st.text(), other=st.text())
def test_moved_to_another_place_it_does_not_open(place: str, other: str):
    sealed = VAULT.seal(b"secret", place)

    if place != other:
        with pytest.raises(SealBroken):
            VAULT.open(sealed, other)


@given(at=st.integers(0, 38), bit=st.integers(0, 7))
def test_no_bit_of_it_can_be_changed(at: int, bit: int):
    sealed = bytearray(VAULT.seal(b"secret", "t.c:1"))
    sealed[at] ^= 1 << bit

    with pytest.raises(SealBroken):
        VAULT.open(bytes(sealed), "t.c:1")


@given(st.binary(max_size=60))
def test_what_was_never_sealed_does_not_open(anything: bytes):
    with pytest.raises(SealBroken):
        VAULT.open(anything, "t.c:1")


def test_a_key_is_changed_without_losing_what_it_sealed():
    before = Vault(OLD).seal(b"secret", "t.c:1")

    assert VAULT.open(before, "t.c:1") == b"secret"
    assert VAULT.is_old(before)
    assert not VAULT.is_old(VAULT.seal(b"secret", "t.c:1"))
    with pytest.raises(SealBroken):
        Vault(OTHER).open(before, "t.c:1")
