from pathlib import Path

import pytest

from muster.embedded.failures import (
    DiskFullError,
    EmbeddedServerError,
    PortTakenError,
    RefusedToStartError,
    plain_words,
    refusal,
)

HOME = Path("/srv/muster/postgres")


def test_a_full_disk_is_recognised_in_what_the_server_said() -> None:
    said = (
        'PANIC:  could not write to file "pg_wal/xlogtemp.31": No space left on device\nLOG:  shutting down\n'
    )

    error = refusal("PostgreSQL", said, folder=HOME, port=15432)

    assert isinstance(error, DiskFullError)
    assert str(error) == "PostgreSQL cannot start: the disk that holds /srv/muster/postgres is full"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_recognised_when_muster_itself_meets_it() -> None:
    with (
        pytest.raises(DiskFullError, match=r"^Valkey cannot start: the disk is full$"),
        plain_words("Valkey"),
    ):
        Path("/dev/full").write_text("a password")


def test_a_taken_port_is_recognised_in_what_the_server_said() -> None:
    said = "Could not create server TCP listening socket 127.0.0.1:16379: bind: Address already in use\n"

    error = refusal("Valkey", said, folder=HOME, port=16379)

    assert isinstance(error, PortTakenError)
    assert str(error) == "Valkey cannot start: port 16379 is taken by another program"


def test_the_last_complaint_tells_more_than_the_last_line() -> None:
    said = (
        "12:00 UTC [7] FATAL:  database files are incompatible with server\n12:00 UTC [7] LOG:  shut down\n"
    )

    error = refusal("PostgreSQL", said, folder=HOME)

    assert isinstance(error, RefusedToStartError)
    assert str(error) == "PostgreSQL refused to start: database files are incompatible with server"


def test_a_server_that_says_nothing_is_quoted_so() -> None:
    error = refusal("Valkey", "\n", folder=HOME)

    assert str(error) == "Valkey refused to start: it did not say why"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(EmbeddedServerError, match=r"^Valkey cannot start: Not a directory \(.*/file/home\)$"),
        plain_words("Valkey"),
    ):
        (tmp_path / "file" / "home").mkdir()
