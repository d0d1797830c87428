"""Who may do what, in one table an auditor can read."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple


class Permission(StrEnum):
    USE_PORTAL = "use the portal"
    SEE_PEOPLE = "see people"
    SEE_SIGN_INS = "see how and when people sign in"
    SEE_PRIVATE = "see what people keep private"
    SYNC_PEOPLE = "sync people"
    DECIDE_REMOVALS = "decide who is removed"
    SEE_CUSTOMERS = "see customers"
    EDIT_CUSTOMERS = "edit customers"
    REASSIGN_CUSTOMERS = "give what a leaver owned to a colleague"
    SYNC_CUSTOMERS = "sync customers"
    SEE_CHECKLIST = "see the checklist"
    PROVE_CHECKLIST = "prove the checklist"
    SEE_ALERTS = "see alerts"
    HANDLE_ALERTS = "acknowledge and silence alerts, and plan maintenance"
    SEE_JOBS = "see jobs and what they hold"
    RUN_JOBS = "run, retry, discard and pause jobs"
    SEE_ROLES = "see who has which role"
    GRANT_ROLES = "grant and revoke roles"
    SEE_SESSIONS = "see everybody's sessions and tokens"
    END_SESSIONS = "end anybody's sessions and tokens"
    SEE_AUDIT = "read the audit log"
    SEE_SETTINGS = "see the settings in force and what browsers report"
    CLEAR_REPORTS = "clear what browsers reported"


class Role(StrEnum):
    MEMBER = "member"
    SALES = "sales"
    PEOPLE_TEAM = "people-team"
    OPERATIONS = "operations"
    AUDITOR = "auditor"
    ADMIN = "admin"


_EVERYBODY = frozenset({Permission.USE_PORTAL, Permission.SEE_PEOPLE, Permission.SEE_CUSTOMERS})


class Title(NamedTuple):
    """A role as people read it: its name, and for whom it is."""

    name: str
    meaning: str


TITLES: dict[Role, Title] = {
    Role.MEMBER: Title("Member", "Everybody who may sign in."),
    Role.SALES: Title("Sales", "Whoever works with customers."),
    Role.PEOPLE_TEAM: Title("People team", "Whoever looks after joiners and leavers."),
    Role.OPERATIONS: Title("Operations", "Whoever keeps the portal running."),
    Role.AUDITOR: Title("Auditor", "Whoever checks, and changes nothing."),
    Role.ADMIN: Title("Admin", "Whoever answers for the portal, and decides who may do what."),
}

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.MEMBER: _EVERYBODY,
    Role.SALES: _EVERYBODY | {Permission.EDIT_CUSTOMERS, Permission.REASSIGN_CUSTOMERS},
    Role.PEOPLE_TEAM: _EVERYBODY
    | {
        Permission.SEE_SIGN_INS,
        Permission.SEE_PRIVATE,
        Permission.SYNC_PEOPLE,
        Permission.DECIDE_REMOVALS,
        Permission.REASSIGN_CUSTOMERS,
    },
    Role.OPERATIONS: _EVERYBODY
    | {
        Permission.SYNC_PEOPLE,
        Permission.SYNC_CUSTOMERS,
        Permission.REASSIGN_CUSTOMERS,
        Permission.SEE_CHECKLIST,
        Permission.PROVE_CHECKLIST,
        Permission.SEE_ALERTS,
        Permission.HANDLE_ALERTS,
        Permission.SEE_JOBS,
        Permission.RUN_JOBS,
        Permission.SEE_ROLES,
        Permission.SEE_SESSIONS,
        Permission.END_SESSIONS,
        Permission.SEE_SETTINGS,
        Permission.CLEAR_REPORTS,
    },
    Role.AUDITOR: _EVERYBODY
    | {
        Permission.SEE_SIGN_INS,
        Permission.SEE_CHECKLIST,
        Permission.SEE_ALERTS,
        Permission.SEE_JOBS,
        Permission.SEE_ROLES,
        Permission.SEE_SESSIONS,
        Permission.SEE_AUDIT,
        Permission.SEE_SETTINGS,
    },
    Role.ADMIN: frozenset(Permission),
}
"""Everybody who signs in is a member; any other role is granted, and adds to it."""


def label(roles: Iterable[str]) -> str:
    """What somebody is called by their roles: the weightiest of them."""
    held = [role for role in Role if role.value in set(roles)]
    return TITLES[held[-1]].name if held else TITLES[Role.MEMBER].name


def granted(roles: Iterable[Role]) -> frozenset[Permission]:
    """What these roles let somebody do, taken together."""
    return frozenset().union(*(GRANTS[role] for role in roles))
