"""The sync everybody writes first: Google's client, one upsert a user with psycopg, a commit a page."""

import psycopg
from psycopg.types.json import Jsonb

from bench.rig.peer import Order, Stopwatch, read_order
from bench.rig.usual import TABLE, directory_pages, kept

UPSERT = """
INSERT INTO people
    (google_id, email, name, given_name, family_name, sort_name, search_text, status, title, department,
     org_unit, employee_id, manager_email, aliases, phones, locations, is_admin, is_guest, enrolled_2sv,
     suspended_reason, suspended_at, joined_at, last_login_at)
VALUES
    (%(google_id)s, %(email)s, %(name)s, %(given_name)s, %(family_name)s, %(sort_name)s,
     %(search_text)s, %(status)s, %(title)s, %(department)s, %(org_unit)s, %(employee_id)s,
     %(manager_email)s, %(aliases)s, %(phones)s, %(locations)s, %(is_admin)s, %(is_guest)s,
     %(enrolled_2sv)s, %(suspended_reason)s, %(suspended_at)s, %(joined_at)s, %(last_login_at)s)
ON CONFLICT (google_id) DO UPDATE SET
    email = EXCLUDED.email, name = EXCLUDED.name, given_name = EXCLUDED.given_name,
    family_name = EXCLUDED.family_name, sort_name = EXCLUDED.sort_name,
    search_text = EXCLUDED.search_text, status = EXCLUDED.status, title = EXCLUDED.title,
    department = EXCLUDED.department, org_unit = EXCLUDED.org_unit, employee_id = EXCLUDED.employee_id,
    manager_email = EXCLUDED.manager_email, aliases = EXCLUDED.aliases, phones = EXCLUDED.phones,
    locations = EXCLUDED.locations, is_admin = EXCLUDED.is_admin, is_guest = EXCLUDED.is_guest,
    enrolled_2sv = EXCLUDED.enrolled_2sv, suspended_reason = EXCLUDED.suspended_reason,
    suspended_at = EXCLUDED.suspended_at, joined_at = EXCLUDED.joined_at,
    last_login_at = EXCLUDED.last_login_at, updated_at = now()
"""


def main() -> None:
    order = read_order()
    with psycopg.connect(order.database_url) as connection:
        connection.execute(TABLE)
        connection.commit()
        stopwatch = Stopwatch()
        with stopwatch:
            seen = _sync(order, connection)
    stopwatch.tell(seen=seen)


def _sync(order: Order, connection: psycopg.Connection) -> int:
    seen = 0
    for page in directory_pages(order):
        for user in page:
            row = kept(user)
            connection.execute(UPSERT, {**row, "phones": Jsonb(row["phones"])})
        connection.commit()
        seen += len(page)
    return seen


if __name__ == "__main__":
    main()
