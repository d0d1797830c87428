"""The saboteurs: for every row of the checklist, real ways of breaking what it promises."""

from tests.readiness.sabotage import (
    access,
    alerts,
    cache,
    crm,
    dashboard,
    directory,
    edge,
    health,
    jobs,
    servers,
    telemetry,
)
from tests.readiness.sabotage.siege import SABOTAGES, Sabotage, Siege

__all__ = [
    "SABOTAGES",
    "Sabotage",
    "Siege",
    "access",
    "alerts",
    "cache",
    "crm",
    "dashboard",
    "directory",
    "edge",
    "health",
    "jobs",
    "servers",
    "telemetry",
]
