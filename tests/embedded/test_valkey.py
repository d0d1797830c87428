from pathlib import Path

import pytest
import redis

from muster.embedded.failures import AlreadyRunningError, RefusedToStartError
from muster.embedded.valkey import Valkey


def client_of(server: Valkey) -> "redis.Redis":
    return redis.Redis.from_url(server.url, decode_responses=True)


def test_what_was_written_is_there_after_a_stop(valkey: Valkey) -> None:
    valkey.start()
    with client_of(valkey) as client:
        client.set("cache:tea", "green")

    valkey.stop()
    assert valkey.exit_status == 0
    valkey.start()

    with client_of(valkey) as client:
        assert client.get("cache:tea") == "green"


def test_an_acknowledged_write_outlives_a_crash(valkey: Valkey) -> None:
    valkey.start()
    with client_of(valkey) as client:
        for _ in range(500):
            client.incr("cache:count")

    valkey.kill()
    assert valkey.exit_status == -9
    valkey.start()

    with client_of(valkey) as client:
        assert client.get("cache:count") == "500"


def test_it_keeps_an_append_only_file_and_evicts_nothing(valkey: Valkey) -> None:
    valkey.start()

    with client_of(valkey) as client:
        configured = client.config_get("*")

    expected = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "no",
        "maxmemory-policy": "noeviction",
        "save": "",
        "bind": "127.0.0.1",
    }
    assert {name: configured[name] for name in expected} == expected


def test_the_password_is_asked_for(valkey: Valkey, home: Path) -> None:
    valkey.start()
    bare = valkey.url.replace((home / "valkey" / "password").read_text(), "guessed")

    with redis.Redis.from_url(bare) as client, pytest.raises(redis.AuthenticationError):
        client.ping()
    with (
        redis.Redis.from_url(bare.replace("default:guessed@", "")) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_only_its_owner_may_read_the_password(valkey: Valkey, home: Path) -> None:
    valkey.start()

    for name in ("password", "valkey.conf"):
        assert (home / "valkey" / name).stat().st_mode & 0o777 == 0o600


def test_a_second_muster_on_the_folder_is_refused(valkey: Valkey, home: Path) -> None:
    valkey.start()

    with pytest.raises(AlreadyRunningError, match=r"another Muster is running on .*/valkey$"):
        Valkey(home).start()

    with client_of(valkey) as client:
        assert client.ping()


def test_the_address_stays_the_same(valkey: Valkey, home: Path) -> None:
    valkey.start()
    url = valkey.url
    valkey.kill()
    valkey.start()
    valkey.stop()

    following = Valkey(home)
    following.start()

    assert following.url == valkey.url == url
    following.stop()


def test_configuration_is_added_to_ours(home: Path) -> None:
    server = Valkey(home, {"maxmemory": "64mb", "appendfsync": "always"})
    server.start()

    with client_of(server) as client:
        assert client.config_get("maxmemory") == {"maxmemory": str(64 * 1024 * 1024)}
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
    server.stop()


def test_a_refusal_carries_the_servers_own_words(home: Path) -> None:
    with pytest.raises(RefusedToStartError, match=r"^Valkey refused to start: .*everysec, always, no$"):
        Valkey(home, {"appendfsync": "sometimes"}).start()


def test_a_home_deeper_than_a_socket_path_may_be_is_fine(home: Path) -> None:
    server = Valkey(home / ("deep-" * 12) / ("and deeper " * 10) / "still")
    server.start()

    with client_of(server) as client:
        assert client.ping()
    server.stop()
