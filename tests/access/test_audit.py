"""The audit log: nothing is left out, nothing changed unseen, everything found again."""

import asyncio
import csv
import io
import re
from typing import Any

import psycopg
import pytest
from tests.town import Town, past_the_triggers

from muster.access.audit_log import AuditFilter
from muster.access.audit_page import in_words
from muster.access.roles import Role
from muster.errors import MusterError
from muster.platform import audit
from muster.platform.actor import Origin, System
from muster.platform.probe import Failed

TESTER = System("tester")


async def write(town: Town, *actions: str, **fields: Any) -> None:
    async with town.portal.database.transaction() as tx:
        for action in actions:
            await audit.record(tx, action, by=TESTER, **fields)


async def write_and_fail(town: Town) -> None:
    async with town.portal.database.transaction() as tx:
        await audit.record(tx, "test.undone", by=TESTER)
        raise MusterError("changed my mind")


async def numbers(town: Town) -> list[int]:
    found = await town.value("SELECT coalesce(array_agg(number ORDER BY number), '{}') FROM audit_seals")
    return list(found)


async def tamper(town: Town, statement: str) -> None:
    await past_the_triggers(town.owner_url, statement)


async def test_entries_that_commit_at_once_make_one_chain(town: Town):
    await asyncio.gather(*(write(town, "test.one", "test.two") for _ in range(20)))

    assert await numbers(town) == list(range(1, 41))
    assert "40 entries" in await town.portal.audit_log.verify()


async def test_what_was_rolled_back_leaves_no_gap(town: Town):
    await write(town, "test.kept")
    with pytest.raises(MusterError, match="changed my mind"):
        await write_and_fail(town)
    await write(town, "test.kept")

    assert await numbers(town) == [1, 2]
    assert await town.audited() == ["test.kept", "test.kept"]
    await town.portal.audit_log.verify()


async def test_the_chain_is_the_same_in_every_time_zone(town: Town):
    await write(town, "test.one", "test.two")

    async with await psycopg.AsyncConnection.connect(town.owner_url) as connection:
        await connection.execute("SET TimeZone = 'Pacific/Kiritimati'")
        await connection.execute("SET DateStyle = 'SQL, DMY'")
        found = await connection.execute(
            "SELECT bool_and(hash = audit_hash(previous, number, entry)) FROM ("
            "SELECT *, coalesce(lag(hash) OVER (ORDER BY number), '') AS previous FROM audit_seals) AS seals "
            "JOIN audit_log AS entry ON entry.id = audit_id"
        )
        assert await found.fetchone() == (True,)


@pytest.mark.parametrize("table", ["audit_log", "audit_seals", "audit_verifications"])
@pytest.mark.parametrize("act", ["DELETE FROM {}", "TRUNCATE {} CASCADE", "UPDATE {} SET {} = {}"])
async def test_not_even_the_owner_changes_it_by_accident(town: Town, table: str, act: str):
    await write(town, "test.one")
    column = {"audit_log": "email", "audit_seals": "hash", "audit_verifications": "hash"}[table]

    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        await town.raw_execute(act.format(table, column, column))


@pytest.mark.parametrize(
    "column",
    [
        *("at = at + interval '1 second'", "email = 'x'", "action = 'x'", "subject = 'x'", "before = '1'"),
        *("after = '{}'", "request_id = 'x'", "address = 'x'", "via = 'x'"),
    ],
)
@pytest.mark.parametrize("number", [1, 3, 5])
async def test_a_change_of_any_column_of_any_entry_is_seen(town: Town, column: str, number: int):
    for _ in range(5):
        await write(town, "test.one", before={"a": 1}, origin=Origin(request_id="r", address="a"))
    await town.portal.audit_log.verify()
    await tamper(town, f"UPDATE audit_log SET {column} WHERE id = {number}")  # noqa: S608  columns of ours

    with pytest.raises(Failed, match=f"entry {number} is not as it was written"):
        await town.portal.audit_log.verify()


@pytest.mark.parametrize(
    ("statements", "seen"),
    [
        (["DELETE FROM audit_log WHERE id = (SELECT min(id) + 1 FROM audit_log)"], "entry 2 was removed"),
        (["DELETE FROM audit_seals WHERE number = 3"], "seals are missing before 4"),
        (["DELETE FROM audit_seals WHERE number = 1"], "seals are missing before"),
        (
            ["DELETE FROM audit_seals WHERE number = 5", "DELETE FROM audit_log WHERE id = 5"],
            "its end was cut off",
        ),
        (["DELETE FROM audit_seals", "DELETE FROM audit_log"], "its end was cut off"),
        (
            ["INSERT INTO audit_log (email, action, subject) VALUES ('x', 'y', 'z')"],
            "slipped in without a seal",
        ),
        (["UPDATE audit_seals SET hash = 'x' WHERE number = 5"], "entry 5 is another than on"),
        (["UPDATE audit_seals SET hash = 'x' WHERE number = 2"], "entry 2 is not as it was written"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_is_taken_or_put_in_is_seen(town: Town, statements: list[str], seen: str):
    for _ in range(5):
        await write(town, "test.one")
    await town.portal.audit_log.verify()
    for statement in statements:
        await tamper(town, statement)

    with pytest.raises(Failed, match=seen):
        await town.portal.audit_log.verify()


async def test_a_history_rewritten_whole_does_not_fit_what_was_proved(town: Town):
    for _ in range(5):
        await write(town, "test.one")
    await town.portal.audit_log.verify()
    await tamper(town, "UPDATE audit_log SET email = 'x' WHERE id = 2")
    await tamper(
        town,
        "WITH RECURSIVE anew AS (SELECT 0::bigint AS number, ''::bytea AS hash UNION ALL "
        "SELECT s.number, audit_hash(anew.hash, s.number, e) FROM anew "
        "JOIN audit_seals AS s ON s.number = anew.number + 1 JOIN audit_log AS e ON e.id = s.audit_id) "
        "UPDATE audit_seals SET hash = anew.hash FROM anew WHERE anew.number = audit_seals.number",
    )

    with pytest.raises(Failed, match="entry 5 is another than on"):
        await town.portal.audit_log.verify()


async def test_a_long_log_is_proved_from_the_last_proof_on_and_once_a_day_as_a_whole(town: Town):
    await town.raw_execute(
        "INSERT INTO audit_log (email, action, subject) SELECT 'x', 'test.bulk', n::text "
        "FROM generate_series(1, 50001) AS n"
    )
    log = town.portal.audit_log

    with pytest.raises(Failed, match="the whole log has not been proved for a day"):
        await log.verify()
    await log.verify(is_full=True)
    assert "5,000 of them proved now" in await log.verify()
    await tamper(town, "UPDATE audit_log SET email = 'y' WHERE id = 7")
    await log.verify()  # not what is asked every minute,
    with pytest.raises(Failed, match="entry 7 is not as it was written"):
        await log.verify(is_full=True)  # but once a day


async def test_every_proof_is_told_to_the_process_log(town: Town, caplog: pytest.LogCaptureFixture):
    await write(town, "test.one")
    with caplog.at_level("INFO"):
        await town.portal.audit_log.verify()

    head = await town.portal.audit_log.head()
    assert head.hash.hex() in caplog.text


async def test_an_entry_says_who_did_what_from_where_and_by_what(town: Town):
    async with town.signed_in("ada@acme.test") as ada:
        await ada.post("/people/syncs")

        found = await town.portal.audit_log.find(AuditFilter(action="people.sync_asked"))
        entry = found.rows[0]
        assert (entry.email, entry.via, entry.address) == ("ada@acme.test", "browser", "127.0.0.1")
        assert entry.request_id


async def test_the_page_finds_entries_by_each_of_its_filters(town: Town):
    origin = Origin(request_id="req-12345678", address="192.0.2.1", via="token:nightly")
    await write(town, "test.found", subject="thing:7", before={"a": 1}, after={"a": "ä%"}, origin=origin)
    await write(town, "test.other", subject="thing:8")
    async with town.signed_in("ada@acme.test") as ada:
        for query in (
            "action=test.found",
            "subject=thing:7",
            "request=req-12345678",
            "address=192.0.2.1",
            "q=nightly+ä%25",
            "who=tester&q=thing:7",
        ):
            page = (await ada.get(f"/admin/audit?{query}")).text
            assert "Test: found" in page, query
            assert "thing:8" not in page, query
        assert "No entry matches" in (await ada.get("/admin/audit?from=2999-01-01")).text
        assert (await ada.get("/admin/audit?from=yesterday")).status_code == 422


async def test_the_page_names_accounts_and_groups_and_labels_its_days(town: Town):
    await town.in_step()
    await town.portal.grants.grant_to_group("partners@acme.test", Role.SALES, by=System("tester"))
    await town.portal.grants.grant("ben@acme.test", Role.SALES, by=System("tester"))
    await write(town, "test.odd", subject="account:99999999999999999999")
    group = await town.value("SELECT name FROM groups WHERE email = 'partners@acme.test'")
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/admin/audit")).text

        assert re.search(r'>ben@acme.test</a> <span class="faint">account \d+<', page)
        assert re.search(r'>Ada [^<]+</a> <span class="faint">account \d+<', page)
        assert re.search(rf'>{group}</a> <span class="faint">group ', page)
        for name, label in (("from", "From"), ("until", "Until")):
            assert f'<div class="field"><label for="{name}">{label}</label>' in page


async def test_what_an_entry_holds_is_text_and_never_markup(town: Town):
    await write(town, "test.found", subject="<b>:<i>", after={"<u>": "<script>alert(1)</script>"})
    async with town.signed_in("ada@acme.test") as ada:
        page = (await ada.get("/admin/audit?action=test.found")).text

        assert "<script>alert" not in page
        assert "<u>" not in page


async def test_the_export_is_whole_safe_and_itself_written_down(town: Town):
    await write(town, "test.found", subject="=1+1")
    async with town.signed_in("ada@acme.test") as ada:
        answer = await ada.get("/admin/audit.csv?action=test.found")
        rows = list(csv.DictReader(io.StringIO(answer.text.removeprefix("\ufeff"))))

        assert [row["Subject"] for row in rows] == ["'=1+1"]
        exported = await town.portal.audit_log.find(AuditFilter(action="audit.exported"))
        assert exported.rows[0].after["action"] == "test.found"


async def test_a_collector_goes_on_where_it_was(town: Town):
    for _ in range(5):
        await write(town, "test.one")
    async with town.signed_in("ada@acme.test") as ada:
        first = (await ada.get("/api/v1/audit?limit=4")).json()
        second = (await ada.get(f"/api/v1/audit?after={first['after']}")).json()
        nothing = (await ada.get(f"/api/v1/audit?after={second['after']}")).json()
        await write(town, "test.late")
        late = (await ada.get(f"/api/v1/audit?after={nothing['after']}")).json()

        told = [one["number"] for one in first["entries"] + second["entries"]]
        assert told == list(range(1, len(told) + 1))
        assert nothing["entries"] == []
        assert [one["action"] for one in late["entries"]] == ["test.late"]


@pytest.mark.parametrize("role", Role)
async def test_only_admins_and_auditors_read_it(town: Town, role: Role):
    if role is not Role.MEMBER:
        await town.portal.grants.grant("cy@acme.test", role, by=TESTER)
    async with town.signed_in("cy@acme.test") as cy:
        status = (await cy.get("/admin/audit")).status_code

        assert status == (200 if role in {Role.ADMIN, Role.AUDITOR} else 403)


def test_actions_are_told_in_words():
    assert in_words("roles.granted_to_group") == "Roles: granted to group"
