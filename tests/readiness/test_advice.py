"""What a failed row says to do: its own remedy, or first that of the server it could not be tried without."""

import re
from dataclasses import replace

import pytest
from tests.readiness.away import nobody, silence, without_redis
from tests.readiness.between import Passing
from tests.readiness.sabotage import Siege
from tests.readiness.sabotage.servers import redis_set
from tests.town import Town

from muster.errors import Unavailable
from muster.platform.probe import Failed, NotTried, Probe
from muster.readiness.checklist import ROWS
from muster.readiness.proofs import Judged, Proofs, Status
from muster.settings import Settings
from muster.wiring import portal

BY_ID = {row.id: row for row in ROWS}
DANGER = "Take the portal out of reach"


def first_of(judged: Judged) -> str | None:
    assert judged.status is Status.FAILED, judged.proof
    return judged.mend_first.id if judged.mend_first else None


def evidence(judged: Judged) -> str:
    assert judged.proof
    return judged.proof.evidence


async def judged_by_another(siege: Siege, settings: Settings) -> Judged:
    """The hostile sign-ins of a prober that has just started, and remembers nothing of Google."""
    async with portal(settings, application="muster-siege") as made:
        probe = made.proofs._probes["signin.refuses"]
        return (await Proofs(siege.archive, [probe], [BY_ID["signin.refuses"]]).prove()).rows[0]


async def test_without_redis_every_row_that_needs_it_says_to_start_it(town: Town, settings: Settings):
    await town.all_in_step()
    await town.watched()
    async with town.signed_in("ada@acme.test"):
        pass
    with nobody() as somewhere:
        async with portal(without_redis(settings, somewhere), application="muster-test") as made:
            failed = {
                judged.row.id: judged
                for judged in (await made.proofs.prove()).rows
                if judged.status is Status.FAILED
            }

    # There is no worker in this town, which is no fault of Redis's.
    assert first_of(failed.pop("workers.alive")) is None
    assert first_of(failed.pop("redis.persistence")) is None
    assert failed.keys() >= {"redis.policy", "sessions.stored", "jobs.canary", "web.limits"}
    assert {first_of(judged) for judged in failed.values()} == {"redis.persistence"}
    for judged in failed.values():
        assert judged.remedy.startswith("First mend `redis.persistence`. If it does not answer, see whether")
        assert DANGER not in judged.remedy


async def test_without_redis_hostile_sign_ins_were_not_tried(siege: Siege):
    async with redis_set(siege, "min-replicas-to-write", "1"):
        judged = await siege.judged("signin.refuses")

    assert evidence(judged).startswith("nothing could be tried: Redis refused: NOREPLICAS")
    assert evidence(judged).endswith("see sessions.stored")


@pytest.mark.parametrize("row", ["signin.refuses", "web.csrf", "web.limits"])
async def test_a_portal_that_answers_errors_is_looked_into_first(siege: Siege, row: str):
    def lost(passing: Passing) -> None:
        passing.status = 502

    with siege.front.spoiling(lost):
        judged = await siege.judged(row)

    assert re.fullmatch(r"nothing could be tried: /[\w/-]* answered 502; see web\.headers", evidence(judged))


async def test_a_portal_that_is_not_there_is_looked_into_first(siege: Siege):
    with nobody() as somewhere:
        away = replace(siege.town.portal.settings, public_url=f"http://{somewhere}")
        judged = await judged_by_another(siege, away)

    assert "does not answer (ConnectError); see web.headers" in evidence(judged)


async def test_what_only_the_portal_does_not_reach_is_named(siege: Siege):
    def unready(passing: Passing) -> None:
        passing.status = 503
        passing.body = b'{"checks": {"postgresql": [{"status": "pass"}], "redis": [{"status": "fail"}]}}'

    with siege.front.spoiling(unready):
        judged = await siege.judged("signin.refuses")

    assert evidence(judged) == (
        "nothing could be tried: the portal's /readyz fails for redis, and /sign-in/google answered 503; "
        "see redis.persistence"
    )


async def test_without_google_hostile_sign_ins_were_not_tried(siege: Siege):
    def down(passing: Passing) -> None:
        passing.status = 503

    with siege.google.spoiling(down):
        judged = await judged_by_another(siege, siege.town.portal.settings)

    assert evidence(judged) == (
        "nothing could be tried: Google: sign-in answered 503; try again in a minute; see signin.discovery"
    )


async def test_a_google_that_is_silent_is_named_before_time_is_up(siege: Siege):
    with silence() as somewhere:
        mute = replace(siege.town.portal.settings, google_issuer=f"http://{somewhere}")
        judged = await judged_by_another(siege, mute)

    assert evidence(judged) == (
        "nothing could be tried: Google: sign-in is silent for 4 s; see signin.discovery"
    )


async def test_an_error_that_lets_somebody_in_is_no_outage(siege: Siege):
    def let_in(passing: Passing) -> None:
        if passing.status == 403:
            passing.status = 500
            passing.headers["set-cookie"] = "muster_session=planted; Path=/"

    with siege.front.spoiling(let_in):
        judged = await siege.judged("signin.refuses")

    assert first_of(judged) is None
    assert judged.remedy.startswith(DANGER)


@pytest.mark.parametrize(
    ("error", "first"),
    [
        (Failed("it is open"), None),
        (Unavailable("Redis refused: WRONGTYPE"), None),
        (Unavailable("Redis does not answer", row="redis.persistence"), "redis.persistence"),
        (NotTried("Google is away", row="signin.discovery"), "signin.discovery"),
        (NotTried("it is itself", row="signin.refuses"), None),
    ],
)
async def test_which_row_comes_first_is_kept_with_the_proof(town: Town, error: Exception, first: str | None):
    async def ask() -> str:
        raise error

    async def holds() -> str:
        return "seen"

    asked = {"signin.refuses": ask, "redis.persistence": holds, "signin.discovery": holds}
    proofs = Proofs(
        town.portal.database,
        [Probe(row=row, ask=asked[row]) for row in asked],
        [BY_ID[row] for row in asked],
    )
    now = (await proofs.prove()).rows[0]
    later = (await proofs.judge_all())[0]

    assert first_of(now) == first_of(later) == first
    assert now.remedy == later.remedy


async def test_the_page_shows_the_remedy_and_the_runbook_of_what_comes_first(town: Town):
    await town.execute(
        "INSERT INTO proofs (row, held, evidence, took_ms, version, at, mend_first) "
        "VALUES ('signin.refuses', false, 'nothing could be tried', 1, 'x', now(), 'redis.persistence')"
    )

    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/checklist")).text

    (row,) = re.findall(r'<tr role="row" id="signin\.refuses".*?</tr>', page, re.DOTALL)
    assert "First mend <code>redis.persistence</code>. If it does not answer" in row
    assert "docs/runbooks/redis.persistence.md" in row
    assert DANGER not in row
