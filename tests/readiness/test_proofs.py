"""Proofs: asked side by side, kept with their date, judged by their age, and never an excuse."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.readiness.away import nobody, without_postgresql
from tests.town import Town

from muster import __version__
from muster.commands import exit_status
from muster.errors import Unavailable
from muster.platform.probe import Failed, NotApplicable, Probe, Seen
from muster.platform.rate_limit import WRITING
from muster.readiness.checklist import ROWS, Row
from muster.readiness.proofs import HISTORY, KEPT_FOR, Judged, Proof, Proofs, Status, judge, tally
from muster.settings import Secret, Settings
from muster.wiring import portal

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HALF_LIFE = timedelta(minutes=10)
REMEDIES = {row.id: row.remedy for row in ROWS}


def row(row_id: str) -> Row:
    return Row(id=row_id, group="G", title="T", promise="It holds.", remedy="Mend it.", half_life=HALF_LIFE)


async def holds() -> str:
    return "seen to hold"


def raising(error: BaseException) -> Callable[[], Awaitable[str]]:
    async def ask() -> str:
        raise error

    return ask


async def hangs() -> str:
    await asyncio.sleep(600)
    return "at last"


async def asked(town: Town, ask: Callable[[], Awaitable[str]]) -> Judged:
    """What a check makes of one probe."""
    proofs = Proofs(
        town.portal.database,
        [Probe(row="it.holds", ask=ask)],
        [row("it.holds")],
        deadline=timedelta(seconds=0.3),
    )
    return (await proofs.prove()).rows[0]


def evidence(judged: Judged) -> str:
    assert judged.proof
    return judged.proof.evidence


# Promises and probes match


@pytest.mark.parametrize(
    ("rows", "probes"),
    [
        (["a", "b"], ["a"]),
        (["a"], ["a", "b"]),
        (["a"], ["b"]),
        (["a"], ["a", "a"]),
        (["a", "a"], ["a"]),
        (["a", "a"], ["a", "a"]),
        ([], ["a"]),
    ],
)
def test_rows_and_probes_that_do_not_match_are_refused(rows: list[str], probes: list[str]):
    database: Any = None  # nothing is asked of it

    with pytest.raises(LookupError, match="rows and probes do not match"):
        Proofs(database, [Probe(row=name, ask=holds) for name in probes], [row(name) for name in rows])


def test_every_row_says_what_to_do_and_how_long_it_counts():
    for each in ROWS:
        assert each.promise.endswith("."), each.id
        assert each.remedy, each.id
        assert each.half_life > timedelta(0), each.id
    assert len({each.id for each in ROWS}) == len(ROWS)


# Judging


def proof(*, held: bool = True, age: timedelta = timedelta(0), version: str = __version__) -> Proof:
    return Proof(row="it.holds", held=held, evidence="e", took_ms=1, version=version, at=NOW - age)


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (None, Status.UNPROVED),
        (proof(), Status.PROVED),
        (proof(age=HALF_LIFE), Status.PROVED),
        (proof(age=HALF_LIFE + timedelta(seconds=1)), Status.STALE),
        (proof(version="0.0.1"), Status.STALE),
        (proof(held=False), Status.FAILED),
        (proof(held=False, age=timedelta(days=3)), Status.FAILED),
        (proof(held=False, version="0.0.1"), Status.FAILED),
    ],
)
def test_a_proof_counts_for_its_half_life_and_its_release(last: Proof | None, status: Status):
    assert judge(row("it.holds"), last, NOW) is status


def test_a_tally_names_every_status():
    judged = Judged(row=row("it.holds"), status=Status.FAILED, proof=None, history=[])

    assert tally([judged, judged]) == {status: 2 if status == "failed" else 0 for status in Status}


async def test_a_promise_without_meaning_here_is_neither_kept_nor_broken(town: Town):
    judged = await asked(town, raising(NotApplicable("there is no such thing")))

    assert (judged.status, evidence(judged)) == (Status.NOT_APPLICABLE, "there is no such thing")
    assert judged.history == [None]
    assert exit_status([judged]) == 0


# Asking


@pytest.mark.parametrize(
    ("age", "version", "status"),
    [
        (timedelta(0), __version__, Status.PROVED),
        (HALF_LIFE + timedelta(minutes=1), __version__, Status.STALE),
        (timedelta(0), "0.0.1", Status.STALE),
    ],
)
async def test_what_was_seen_on_an_earlier_day_ages_from_then_on(
    town: Town, age: timedelta, version: str, status: Status
):
    seen_at = datetime.now(UTC) - age

    async def earlier() -> str:
        return Seen("as the drill showed", at=seen_at, version=version)

    judged = await asked(town, earlier)

    assert (judged.status, evidence(judged)) == (status, "as the drill showed")
    assert judged.proof
    assert judged.proof.as_of == seen_at
    (kept,) = await Proofs(
        town.portal.database, [Probe(row="it.holds", ask=earlier)], [row("it.holds")]
    ).judge_all()
    assert kept.status is status


async def test_what_holds_is_proved_with_its_evidence(town: Town):
    judged = await asked(town, holds)

    assert (judged.status, evidence(judged)) == (Status.PROVED, "seen to hold")
    assert judged.proof
    assert judged.proof.version == __version__
    assert abs(datetime.now(UTC) - judged.proof.at) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("ask", "seen"),
    [
        (raising(Failed("3 of 4 are missing")), "3 of 4 are missing"),
        (raising(Unavailable("Redis does not answer: gone")), "Redis does not answer: gone"),
        (
            raising(ZeroDivisionError("division by zero")),
            "the probe itself broke: ZeroDivisionError: division",
        ),
        (raising(TimeoutError()), "the probe itself broke: TimeoutError"),
        (
            raising(RuntimeError("first line\nsecond line")),
            "the probe itself broke: RuntimeError: first line",
        ),
        (hangs, "no answer within 0 s"),
    ],
)
async def test_what_does_not_hold_or_cannot_be_asked_is_failed(
    town: Town, ask: Callable[[], Awaitable[str]], seen: str
):
    judged = await asked(town, ask)

    assert judged.status is Status.FAILED
    assert evidence(judged).startswith(seen)
    assert "second line" not in evidence(judged)


async def test_one_probe_that_hangs_does_not_hold_up_the_others(town: Town):
    proofs = Proofs(
        town.portal.database,
        [Probe(row="slow", ask=hangs), Probe(row="quick", ask=holds)],
        [row("slow"), row("quick")],
        deadline=timedelta(seconds=0.3),
    )

    slow, quick = (await proofs.prove()).rows

    assert (slow.status, quick.status) == (Status.FAILED, Status.PROVED)
    assert quick.proof
    assert quick.proof.took_ms < 300


# Keeping


async def test_evidence_is_kept_with_its_date_and_judged_later(town: Town):
    probe = Probe(row="it.holds", ask=holds)
    proofs = Proofs(town.portal.database, [probe], [row("it.holds")])
    assert [one.status for one in await proofs.judge_all()] == [Status.UNPROVED]

    assert (await proofs.prove()).kept

    (later,) = await Proofs(town.portal.database, [probe], [row("it.holds")]).judge_all()
    assert (later.status, evidence(later), later.history) == (Status.PROVED, "seen to hold", [True])
    assert await town.value("SELECT now() - at < interval '1 minute' FROM proofs")


async def test_history_is_told_oldest_first_and_not_without_end(town: Town):
    answers = [False] * 5 + [True] * HISTORY + [False]

    async def ask() -> str:
        if not answers.pop(0):
            raise Failed("not now")
        return "now"

    proofs = Proofs(town.portal.database, [Probe(row="it.holds", ask=ask)], [row("it.holds")])
    while answers:
        await proofs.prove()

    (judged,) = await proofs.judge_all()

    assert judged.history == [True] * (HISTORY - 1) + [False]
    assert judged.status is Status.FAILED


async def test_a_proof_goes_stale_by_itself(town: Town):
    proofs = Proofs(town.portal.database, [Probe(row="it.holds", ask=holds)], [row("it.holds")])
    await proofs.prove()
    await town.execute("UPDATE proofs SET at = at - %s", HALF_LIFE)

    assert [one.status for one in await proofs.judge_all()] == [Status.STALE]


async def test_a_new_release_has_everything_to_prove_again(town: Town):
    proofs = Proofs(town.portal.database, [Probe(row="it.holds", ask=holds)], [row("it.holds")])
    await proofs.prove()
    await town.execute("UPDATE proofs SET version = '0.0.1'")

    assert [one.status for one in await proofs.judge_all()] == [Status.STALE]


async def test_old_evidence_is_thrown_away(town: Town):
    proofs = Proofs(town.portal.database, [Probe(row="it.holds", ask=holds)], [row("it.holds")])
    await proofs.prove()
    await town.execute("UPDATE proofs SET at = at - %s", KEPT_FOR)

    await proofs.prove()

    assert await town.value("SELECT count(*) FROM proofs") == 1


# Servers that are away


async def test_a_check_answers_also_without_postgresql(town: Town, settings: Settings):
    async with town.working():
        with nobody() as somewhere:
            async with portal(without_postgresql(settings, somewhere), application="muster-test") as made:
                checked = await made.proofs.prove()

    assert not checked.kept
    by_row = {judged.row.id: judged for judged in checked.rows}
    assert by_row.keys() == {each.id for each in ROWS}
    assert by_row["redis.persistence"].status is by_row["jobs.canary"].status is Status.PROVED
    for name in ("postgresql.answers", "postgresql.durable", "postgresql.migrated", "directory.fresh"):
        assert by_row[name].status is Status.FAILED
        assert evidence(by_row[name]) == "PostgreSQL does not answer"
    start_it = REMEDIES["postgresql.answers"]
    assert by_row["directory.fresh"].remedy == f"First mend `postgresql.answers`. {start_it}"
    assert by_row["postgresql.answers"].remedy == start_it


async def test_a_server_that_takes_no_writes_keeps_nothing_and_breaks_nothing(town: Town, settings: Settings):
    """As after a failover to a replica."""
    url = settings.database_url.reveal()
    read_only = replace(
        settings, database_url=Secret(f"{url}?options=-c%20default_transaction_read_only%3Don")
    )
    async with town.working(), portal(read_only, application="muster-test") as made:
        checked = await made.proofs.prove()

    assert not checked.kept
    assert next(one for one in checked.rows if one.row.id == "postgresql.answers").status is Status.PROVED


async def test_two_who_prove_at_once_do_not_mislead_each_other(town: Town):
    """The worker proves each minute, and `muster check` whenever somebody asks."""
    await town.all_in_step()
    await town.watched()
    async with (
        town.working(),
        town.signed_in("ada@acme.test"),
        portal(town.portal.settings, application="muster-check") as other,
    ):
        await town.schedule()
        for _ in range(6):
            await town.beat()
            checked = await asyncio.gather(town.portal.proofs.prove(), other.proofs.prove())
            fine = {Status.PROVED, Status.NOT_APPLICABLE}
            found = [one for check in checked for one in check.rows if one.status not in fine]
            assert not found, [(one.row.id, evidence(one)) for one in found]


async def test_many_who_try_a_session_at_once_do_not_end_each_others(town: Town):
    probe = town.portal.proofs._probes["sessions.stored"]

    said = await asyncio.gather(*(probe.ask() for _ in range(20)))

    assert all("written, read and ended" in one for one in said)


async def test_who_proves_again_and_again_is_not_misled_by_what_one_may_do_in_a_minute(town: Town):
    probe = town.portal.proofs._probes["web.csrf"]

    said = [await probe.ask() for _ in range(WRITING.times // 7 + 1)]  # seven writes each

    assert all("forged requests refused" in one for one in said)
