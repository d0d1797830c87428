"""Rules on figures: each holds when all is well, and fails on what it is there for."""

import pytest
from tests.town import Town

from muster.platform.probe import Failed, NotApplicable
from muster.readiness.alert_rules import FEWEST_FAULTS, REFUSED_SIGN_INS, RULES, TRIED_BY_PROBE, Rules


@pytest.fixture
def rules(town: Town) -> Rules:
    made, settings = town.portal, town.portal.settings
    return Rules(made.database, made.queues, home=settings.home, public_url=settings.public_url)


async def answered(town: Town, *, requests: int, faults: int = 0, refused: int = 0) -> None:
    await town.execute(
        "INSERT INTO web_minutes VALUES (date_trunc('minute', now()), %s, %s, %s, %s)",
        f"web-{requests}-{faults}-{refused}",
        requests,
        faults,
        refused,
    )


async def test_every_rule_has_its_question_and_holds_in_a_town_in_order(rules: Rules):
    questions = {one.row: one for one in rules.probes()}
    assert questions.keys() == {rule.id for rule in RULES}

    for name, question in questions.items():
        if name == "rule.certificate":
            with pytest.raises(NotApplicable):
                await question.ask()
        else:
            assert await question.ask()


async def test_a_few_faults_are_no_alert_and_one_in_twenty_is(town: Town, rules: Rules):
    await answered(town, requests=20, faults=FEWEST_FAULTS - 1)
    assert await rules.errors()
    await answered(town, requests=20, faults=1)

    with pytest.raises(Failed, match="10 of 40 requests failed"):
        await rules.errors()


async def test_a_job_that_nobody_takes_is_a_backlog(town: Town, rules: Rules):
    made = town.portal
    job = next(one for one in made.jobs if one.queue == "upkeep")
    await made.queues.add_once(job, "late")
    await made.redis.hset("queue:upkeep:late", "timestamp", 1_000_000_000_000)

    with pytest.raises(Failed, match="the oldest job waits in upkeep for"):
        await rules.backlog()


async def test_a_worker_that_ends_without_a_word_is_missed_until_another_comes(town: Town, rules: Rules):
    beat = town.portal.heartbeats.beat
    await beat("gone", queues=["upkeep"], running=0)
    await town.execute("UPDATE workers SET seen_at = now() - interval '2 minutes', started_at = 'yesterday'")
    with pytest.raises(Failed, match="1 ended without a word"):
        await rules.worker_gone()

    await beat("new", queues=["upkeep"], running=0)

    assert await rules.worker_gone() == "nobody is missing"


async def test_what_muster_tries_itself_is_no_abuse_and_what_others_try_is(town: Town, rules: Rules):
    await answered(town, requests=100, refused=REFUSED_SIGN_INS + TRIED_BY_PROBE)
    with pytest.raises(Failed, match="30 sign-ins were refused"):
        await rules.login_abuse()

    await town.execute(
        "INSERT INTO proofs (row, held, evidence, took_ms, version) "
        "VALUES ('signin.refuses', true, '', 1, '0')"
    )

    assert await rules.login_abuse()


async def test_the_web_writes_down_what_it_answered_and_nothing_twice(town: Town):
    async with town.visitor() as stranger:
        await town.portal.watch._web_minutes.write("web-test")
        before = await town.value("SELECT sum(requests) FROM web_minutes")
        for _ in range(3):
            await stranger.get("/sign-in/google/callback?state=x&code=y")
        await town.portal.watch._web_minutes.write("web-test")
        await town.portal.watch._web_minutes.write("web-test")

    assert await town.value("SELECT sum(requests) FROM web_minutes") == before + 3
    assert await town.value("SELECT sum(refused_sign_ins) FROM web_minutes") >= 3
