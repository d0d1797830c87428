"""Bringing the database's tables to this release, and telling whether they are."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.errors import InsufficientPrivilege

from muster.errors import Unavailable
from muster.platform import database_role
from muster.platform.database import first_line

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parents[3] / "migrations"


def upgrade(owner_url: str, app_url: str | None = None) -> list[str]:
    """Run what has not run yet, each version in a transaction of its own, as the owner of the tables; then
    let the role of `app_url` use them, if that is another.

    Gives what that role may do and should not, and the owner could not take from it. Raises Unavailable
    when the server does not answer, or does not let the owner make tables or grant them.
    """
    from alembic import command  # noqa: PLC0415  SQLAlchemy costs 25 MB that only migrating needs
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  as above

    try:
        command.upgrade(_config(owner_url), "head")
    except DBAPIError as error:
        reason = first_line(error.orig or error)
        hint = (
            "; DATABASE_OWNER_URL names their owner" if isinstance(error.orig, InsufficientPrivilege) else ""
        )
        raise Unavailable(f"PostgreSQL cannot be migrated: {reason}{hint}") from error
    return asyncio.run(database_role.settle(owner_url, app_url)) if app_url else []


def head() -> str:
    """The newest version this release knows: the highest number, as files are named."""
    return max(path.name.split("_")[0] for path in (FOLDER / "versions").glob("[0-9]*.py"))


def _config(database_url: str) -> "Config":
    from alembic.config import Config  # noqa: PLC0415  as above

    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    # Alembic reads % as interpolation; SQLAlchemy asks for the driver in the scheme.
    url = "postgresql+psycopg" + database_url[database_url.index("://") :]
    config.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return config
