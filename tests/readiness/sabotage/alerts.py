"""What is broken of alerting itself: nobody watches, nobody takes what is sent, nobody outside is told."""

from collections.abc import AsyncIterator

from tests.readiness.sabotage.siege import Siege, saboteur


@saboteur("alerts.watching", sees="nobody has looked since")
async def who_watched_fell_silent(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE alert_watch SET looked_at = now() - interval '1 hour'")
    yield
    await siege.town.watched()


@saboteur("alerts.watching", sees="nobody has looked yet")
async def nobody_ever_watched(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("DELETE FROM alert_watch")
    yield
    await siege.town.watched()


@saboteur("alerts.delivered", sees="has not taken a message of")
async def a_channel_refuses(siege: Siege) -> AsyncIterator[None]:
    await siege.town.sandbox.tell("alerts/on-call", {"how": "refuse"})
    async with siege.town.portal.database.transaction() as tx:
        await siege.town.portal.watch.test(tx, by="a saboteur")
    await siege.town.portal.watch.deliver()
    yield
    await siege.town.sandbox.tell("alerts/on-call", {"how": "take"})
    await siege.sql("UPDATE deliveries SET next_try_at = now()")
    await siege.town.portal.watch.deliver()


@saboteur("alerts.delivered", sees="took its last canary 2 days ago")
async def the_canary_of_today_was_not_taken(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE deliveries SET accepted_at = accepted_at - interval '2 days'")
    yield
    await siege.sql("UPDATE deliveries SET accepted_at = accepted_at + interval '2 days'")


@saboteur("alerts.delivered", sees="never took 1 of the last day's messages")
async def a_message_was_given_up(siege: Siege) -> AsyncIterator[None]:
    await siege.sql(
        "INSERT INTO notices (kind, tone, title, body, at) "
        "VALUES ('test', 'info', 'lost', '', now() - interval '1 hour')",
        "INSERT INTO deliveries (notice_id, channel, name, tries, next_try_at, given_up_at) "
        "SELECT notices.id, channel, name, 40, now(), now() FROM notices, "
        "(SELECT channel, name FROM deliveries LIMIT 1) AS known WHERE title = 'lost'",
    )
    yield
    await siege.sql("DELETE FROM notices WHERE title = 'lost'")


@saboteur("alerts.heartbeat", sees="was not accepted: answered 404")
async def the_switch_was_deleted(siege: Siege) -> AsyncIterator[None]:
    await siege.town.sandbox.tell("alerts/ping", {"how": "refuse", "status": 404})
    await ping_again(siege)
    yield
    await siege.town.sandbox.tell("alerts/ping", {"how": "take"})
    await ping_again(siege)


@saboteur("alerts.heartbeat", sees="no ping has been sent since")
async def no_ping_was_sent_for_an_hour(siege: Siege) -> AsyncIterator[None]:
    await siege.sql("UPDATE alert_watch SET pinged_at = now() - interval '1 hour'")
    yield
    await ping_again(siege)


async def ping_again(siege: Siege) -> None:
    await siege.sql("UPDATE alert_watch SET pinged_at = NULL")
    await siege.town.watched()
