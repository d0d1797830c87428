"""Probes of the queues themselves: what waits, what failed, what is due, and who works them off."""

import asyncio
import base64
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from muster import __version__
from muster.errors import Unavailable
from muster.platform.heartbeat import Heartbeats, WorkerSeen
from muster.platform.probe import Failed, Probe
from muster.platform.queue import PREFIX, QUEUES, Job, Queues
from muster.platform.redis import QUEUE, Redis, answering

WAITS_AT_MOST = timedelta(minutes=5)
LATELY = timedelta(hours=1)
LATE_AFTER = timedelta(minutes=2)
STALLED_OFTEN = 3
"""So many workers lost in one job: the job itself may be what kills them."""

LOOKED_AT = 200
NAMED = 5
ONE_LOOK = 0.4
LOOKS = 4
"""A worker that has just begun, or lost its line, is back on Redis within a moment."""

_GAVE_UP = "job stalled more than allowable limit"
_DUE_IN = 4096
"""BullMQ keeps when a delayed job is due times this, and a counter in what is left."""


def queue_key(queue: str, what: str) -> str:
    """BullMQ's key of a queue's list or set, or of a job by its id."""
    return f"{QUEUE}{queue}:{what}"


class QueueProbes:
    def __init__(
        self, redis: Redis, queues: Queues, heartbeats: Heartbeats, jobs: Sequence[Job] = ()
    ) -> None:
        self._redis = redis
        self._queues = queues
        self._heartbeats = heartbeats
        self._jobs = jobs

    def expect(self, jobs: Sequence[Job]) -> None:
        """Whose schedules there are to be, once every slice has said its jobs."""
        self._jobs = jobs

    def probes(self) -> list[Probe]:
        return [
            Probe(row="jobs.backlog", ask=self.backlog),
            Probe(row="jobs.failed", ask=self.failed),
            Probe(row="jobs.schedules", ask=self.schedules),
            Probe(row="workers.alive", ask=self.workers),
        ]

    async def backlog(self) -> str:
        seen = []
        for queue in (spec.name for spec in QUEUES):
            waiting, since = await self._waiting(queue)
            age = timedelta(seconds=max(0.0, time.time() - since / 1000)) if since else timedelta()
            if age > WAITS_AT_MOST:
                raise Failed(f"the oldest job of {queue} waits for {_in_words(age)}; {waiting} wait with it")
            seen.append(f"{queue} {waiting}" + (f" (for {_in_words(age)})" if since else ""))
            with answering():
                if await self._redis.hexists(queue_key(queue, "meta"), "paused"):
                    raise Failed(f"{queue} is paused, {waiting} of its jobs wait")
        return f"waiting: {', '.join(seen)}; none is paused"

    async def failed(self) -> str:
        failures = [one for spec in QUEUES for one in await self._failed_lately(spec.name)]
        finished = {name: at for spec in QUEUES for name, at in (await self._run_since(spec.name, failures))}
        lasting = [one for one in failures if finished.get(one.name, 0) < one.finished_on]
        if lasting:
            raise Failed(f"failed for good and has not run since: {_listed(_named_once(lasting))}")
        if stalled := [one for spec in QUEUES for one in await self._stalled(spec.name)]:
            raise Failed(f"its workers were lost again and again: {_listed(stalled)}")
        since = f"within {_in_words(LATELY)}"
        return f"{len(failures)} failed {since}, and have run since" if failures else f"none failed {since}"

    async def schedules(self) -> str:
        wanted = {job.name for job in self._jobs if job.is_scheduled}
        found = await self._queues.scheduled()
        if missing := sorted(wanted - found.keys()):
            raise Failed(f"not scheduled: {_listed(missing)}")
        if strays := sorted(found.keys() - wanted):
            raise Failed(f"scheduled, though no job of this release is: {_listed(strays)}")
        now = time.time() * 1000
        late = {name: timedelta(milliseconds=now - due) for name, due in found.items() if due < now}
        if overdue := [name for name, by in sorted(late.items()) if by > LATE_AFTER]:
            longest = max(late[name] for name in overdue)
            raise Failed(f"should have run {_in_words(longest)} ago: {_listed(overdue)}")
        nearest = min(found, key=lambda name: found[name], default="none")
        return f"{len(found)} schedules, each in place and on time; next is {nearest}"

    async def workers(self) -> str:
        alive = await self._heartbeats.list_alive()
        if not alive:
            raise Failed("no worker has said that it lives")
        untaken = {spec.name for spec in QUEUES} - {name for worker in alive for name in worker.queues}
        if untaken:
            raise Failed(f"no worker takes the queue {', '.join(sorted(untaken))}")
        if strange := sorted({worker.version for worker in alive} - {__version__}):
            raise Failed(f"workers of release {', '.join(strange)} beside {__version__}")
        await self._check_where_they_work(alive)
        at_once = ", ".join(
            f"{spec.name} {sum(worker.concurrency.get(spec.name, 0) for worker in alive)}" for spec in QUEUES
        )
        named = ", ".join(f"{one.host}:{one.pid} ({one.memory_bytes // 2**20} MB)" for one in alive[:NAMED])
        return f"{len(alive)} alive: {named}; jobs at once: {at_once}"

    async def _check_where_they_work(self, alive: Sequence[WorkerSeen]) -> None:
        """Raises Failed for one that is connected elsewhere: it lives, and does nothing for this portal."""
        astray: list[str] = []
        for look in range(LOOKS):
            try:
                with answering():
                    lines: list[dict[str, str]] = await self._redis.client_list()
            except Unavailable:  # some providers do not show who is connected
                return
            astray = list(_astray(alive, lines, database=self._database()))
            if not astray:
                return
            if look < LOOKS - 1:
                await asyncio.sleep(ONE_LOOK)
        raise Failed(f"working elsewhere: {_listed(astray)}")

    def _database(self) -> str:
        return str(self._redis.connection_pool.connection_kwargs.get("db") or 0)

    async def _waiting(self, queue: str) -> tuple[int, float]:
        """How many wait, and since when the oldest does, in milliseconds since 1970; 0 if none."""
        with answering():
            waiting = [
                await self._redis.llen(queue_key(queue, "wait")),
                await self._redis.llen(queue_key(queue, "paused")),
                await self._redis.zcard(queue_key(queue, "prioritized")),
            ]
            oldest = [
                await self._redis.lindex(queue_key(queue, "wait"), -1),
                await self._redis.lindex(queue_key(queue, "paused"), -1),
                *await self._redis.zrange(queue_key(queue, "prioritized"), 0, 0),
            ]
            due: Any = await self._redis.zrange(queue_key(queue, "delayed"), 0, 0, withscores=True)
        begun = [await self._waits_since(queue, job_id) for job_id in oldest if job_id]
        overdue = [score / _DUE_IN for _, score in due if score / _DUE_IN < time.time() * 1000]
        return sum(waiting) + len(overdue), min((at for at in [*begun, *overdue] if at), default=0)

    async def _waits_since(self, queue: str, job_id: Any) -> float:
        """Since it was added and due, or was last begun, if its worker was lost; 0 if it is no more."""
        added, delay, begun = await self._fields(queue, job_id, "timestamp", "delay", "processedOn")
        return max(float(added or 0) + float(delay or 0), float(begun or 0)) if added else 0

    async def _failed_lately(self, queue: str) -> "list[_Failure]":
        since = (datetime.now(UTC) - LATELY).timestamp() * 1000
        with answering():
            ids = await self._redis.zrangebyscore(queue_key(queue, "failed"), since, "+inf", 0, LOOKED_AT)
        found = []
        for job_id in ids:
            name, at, reason = await self._fields(queue, job_id, "name", "finishedOn", "failedReason")
            if name:
                found.append(
                    _Failure(name=name, queue=queue, finished_on=int(at or 0), gave_up=reason == _GAVE_UP)
                )
        return found

    async def _run_since(self, queue: str, failures: "Sequence[_Failure]") -> list[tuple[str, int]]:
        """Which jobs were completed after the first of these failures, and when, oldest first."""
        first = min((one.finished_on for one in failures if one.queue == queue), default=None)
        if first is None:
            return []
        with answering():
            done: Any = await self._redis.zrangebyscore(
                queue_key(queue, "completed"), first, "+inf", withscores=True
            )
        named = [((await self._fields(queue, job_id, "name"))[0], int(at)) for job_id, at in done]
        return [(name, at) for name, at in named if name]

    async def _stalled(self, queue: str) -> list[str]:
        with answering():
            ids = [
                *await self._redis.lrange(queue_key(queue, "active"), 0, LOOKED_AT),
                *await self._redis.lrange(queue_key(queue, "wait"), -NAMED, -1),
            ]
        found = []
        for job_id in ids:
            name, stalled = await self._fields(queue, job_id, "name", "stc")
            if name and int(stalled or 0) >= STALLED_OFTEN:
                found.append(f"{name} ({stalled} times)")
        return found

    async def _fields(self, queue: str, job_id: Any, *names: str) -> list[str | None]:
        with answering():
            found: list[Any] = await self._redis.hmget(queue_key(queue, job_id.decode()), list(names))
        return [value.decode(errors="replace") if value is not None else None for value in found]


class _Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A job that failed for good, if only because its worker was lost too often."""

    name: str
    queue: str
    finished_on: int
    gave_up: bool


def _named_once(failures: Sequence[_Failure]) -> list[str]:
    newest = {one.name: one for one in sorted(failures, key=lambda one: one.finished_on)}
    return [
        f"{name} at {datetime.fromtimestamp(one.finished_on / 1000, UTC):%H:%M} UTC"
        + (", its worker lost too often" if one.gave_up else "")
        for name, one in sorted(newest.items())
    ]


def _astray(alive: Sequence[WorkerSeen], lines: Sequence[dict[str, str]], *, database: str) -> Iterator[str]:
    """Workers that no line of this Redis is of, with what is known of where they are instead."""
    known = defaultdict(set)
    for line in lines:
        known[line.get("name", "")].add(line.get("db", ""))
    for worker in alive:
        for queue in worker.queues:
            coded = f":{base64.b64encode(queue.encode()).decode()}:w:{worker.id}"
            at = known.get(f"{PREFIX}{coded}", set())
            if at == {database}:
                continue
            if at:
                yield f"{worker.id} in database {max(at - {database})}"
            elif other := next((name for name in known if name.endswith(coded)), ""):
                yield f"{worker.id} under {other.removesuffix(coded)}:"
            else:
                yield f"{worker.id} on another Redis"
            break


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _in_words(duration: timedelta) -> str:
    seconds = round(duration.total_seconds())
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"
