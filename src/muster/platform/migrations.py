"""Bringing the database's tables to this release, and telling whether they are."""

from pathlib import Path
from typing import TYPE_CHECKING

from muster.errors import Unavailable
from muster.platform.database import first_line

if TYPE_CHECKING:
    from alembic.config import Config

FOLDER = Path(__file__).parents[3] / "migrations"


def upgrade(database_url: str) -> None:
    """Run what has not run yet, each version in a transaction of its own.

    Raises Unavailable when the server does not answer, or does not let this role make tables.
    """
    from alembic import command  # noqa: PLC0415  SQLAlchemy costs 25 MB that only migrating needs
    from sqlalchemy.exc import DBAPIError  # noqa: PLC0415  as above

    try:
        command.upgrade(_config(database_url), "head")
    except DBAPIError as error:
        raise Unavailable(f"PostgreSQL cannot be migrated: {first_line(error.orig or error)}") from error


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
