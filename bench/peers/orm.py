"""The same through an ORM: Google's client, SQLAlchemy's session, one look-up and one commit a page."""

from datetime import datetime

from sqlalchemy import ARRAY, Text, create_engine, select, text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.rig.peer import Order, Stopwatch, read_order
from bench.rig.usual import TABLE, directory_pages, kept


class Base(DeclarativeBase):
    type_annotation_map = {  # noqa: RUF012  SQLAlchemy's own way
        str: Text,
        list[str]: ARRAY(Text),
        list[dict[str, str]]: JSONB,
        datetime: TIMESTAMP(timezone=True),
    }


class Person(Base):
    __tablename__ = "people"

    google_id: Mapped[str] = mapped_column(primary_key=True)
    email: Mapped[str]
    name: Mapped[str]
    given_name: Mapped[str]
    family_name: Mapped[str]
    sort_name: Mapped[str]
    search_text: Mapped[str]
    status: Mapped[str]
    title: Mapped[str]
    department: Mapped[str]
    org_unit: Mapped[str]
    employee_id: Mapped[str]
    manager_email: Mapped[str]
    aliases: Mapped[list[str]]
    phones: Mapped[list[dict[str, str]]]
    locations: Mapped[list[str]]
    is_admin: Mapped[bool]
    is_guest: Mapped[bool]
    enrolled_2sv: Mapped[bool]
    suspended_reason: Mapped[str]
    suspended_at: Mapped[datetime | None]
    joined_at: Mapped[datetime | None]
    last_login_at: Mapped[datetime | None]


def main() -> None:
    order = read_order()
    engine = create_engine(order.database_url.replace("postgresql://", "postgresql+psycopg://", 1))
    with engine.begin() as connection:
        connection.execute(text(TABLE))
    stopwatch = Stopwatch()
    with Session(engine) as session, stopwatch:
        seen = _sync(order, session)
    stopwatch.tell(seen=seen)


def _sync(order: Order, session: Session) -> int:
    seen = 0
    for page in directory_pages(order):
        ids = [user["id"] for user in page]
        stored = {
            person.google_id: person
            for person in session.scalars(select(Person).where(Person.google_id.in_(ids)))
        }
        for user in page:
            row = kept(user)
            person = stored.get(row["google_id"])
            if person is None:
                session.add(Person(**row))
                continue
            for column, value in row.items():
                setattr(person, column, value)
        session.commit()
        session.expunge_all()
        seen += len(page)
    return seen


if __name__ == "__main__":
    main()
