"""Workers say that they live, in PostgreSQL, so that the web and the checklist can count them."""

import os
import socket
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
import psutil

from muster import __version__
from muster.platform.database import Database
from muster.platform.queue import Running

EVERY = timedelta(seconds=5)
MISSING_AFTER = timedelta(seconds=20)


class WorkerSeen(msgspec.Struct, frozen=True, kw_only=True):
    """`concurrency` is how many jobs of each queue it runs at once, `jobs` those it runs now."""

    id: str
    host: str
    pid: int
    version: str
    queues: list[str]
    memory_bytes: int
    running: int
    concurrency: dict[str, int]
    jobs: list[Running]
    started_at: datetime
    seen_at: datetime


class Heartbeats:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def beat(
        self, worker_id: str, *, concurrency: Mapping[str, int], running: Sequence[Running]
    ) -> None:
        async with self._database.transaction() as tx:
            await tx.execute(
                """
                INSERT INTO workers (
                    id, host, pid, version, queues, memory_bytes, running, concurrency, jobs
                )
                VALUES (%s, %s, %s, %s, %s, %s, %s, %s::jsonb, %s::jsonb)
                ON CONFLICT (id) DO UPDATE
                    SET seen_at = now(), memory_bytes = excluded.memory_bytes, running = excluded.running,
                        jobs = excluded.jobs
                """,
                [
                    worker_id,
                    socket.gethostname(),
                    os.getpid(),
                    __version__,
                    list(concurrency),
                    psutil.Process().memory_info().rss,
                    len(running),
                    msgspec.json.encode(concurrency).decode(),
                    msgspec.json.encode(running).decode(),
                ],
            )
            await tx.execute("DELETE FROM workers WHERE seen_at < now() - interval '1 day'")

    async def stopped(self, worker_id: str) -> None:
        """The worker ends as it should; it is not missing."""
        async with self._database.transaction() as tx:
            await tx.execute("DELETE FROM workers WHERE id = %s", [worker_id])

    async def list_alive(self) -> list[WorkerSeen]:
        return await self._database.rows(
            WorkerSeen,
            "SELECT * FROM workers WHERE seen_at > now() - %s ORDER BY started_at LIMIT 1000",
            [MISSING_AFTER],
        )
