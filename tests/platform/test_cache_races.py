"""Several processes race against one Redis and one PostgreSQL; `./dev bench cache` runs more of them."""

from collections.abc import Iterator

import psycopg
import pytest
from tests.conftest import Servers

from bench.peers.cache_order import CacheOrder
from bench.rig.crew import crewed, flags_for

PROCESSES = 4
RACES = 900


@pytest.fixture
def races(servers: Servers) -> Iterator[None]:
    with psycopg.connect(servers.postgres.owner_url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS races")
        connection.execute("CREATE TABLE races (race int PRIMARY KEY, value text NOT NULL)")
        connection.execute("INSERT INTO races SELECT race, 'old' FROM generate_series(0, %s) race", [RACES])
        connection.execute("GRANT SELECT, UPDATE ON races TO PUBLIC")
        yield
        connection.execute("DROP TABLE races")
        connection.execute("TRUNCATE cache_busts")


@pytest.mark.usefixtures("races")
def test_in_hundreds_of_races_of_four_processes_nobody_reads_what_was(servers: Servers):
    with flags_for(RACES) as flags:
        said = crewed(
            "cache_races",
            CacheOrder(
                peer="muster",
                redis_url=servers.valkey.url,
                database_url=servers.postgres.url,
                processes=PROCESSES,
                races=RACES,
                flags=flags,
            ),
        )

    assert sum(one["looks"] for one in said) > PROCESSES * RACES
    assert sum(one["stale"] for one in said) == 0
    # Else it was no race: the late ones were really late.
    assert sum(one["refused"] for one in said) > RACES / 2


def test_eighty_cold_readers_of_four_processes_ask_the_origin_a_handful_of_times(servers: Servers):
    said = crewed("cache_cold", CacheOrder(peer="muster", redis_url=servers.valkey.url, processes=PROCESSES))

    assert 1 <= sum(one["asked"] for one in said) <= PROCESSES
