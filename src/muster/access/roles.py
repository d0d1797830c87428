"""Who may do what, in one table an auditor can read."""

from enum import StrEnum


class Permission(StrEnum):
    USE_PORTAL = "use the portal"
    SEE_PEOPLE = "see people"
    SEE_SIGN_INS = "see how and when people sign in"
    SEE_PRIVATE = "see what people keep private"
    SYNC_PEOPLE = "sync people"
    DECIDE_REMOVALS = "decide who is removed"
    SEE_CHECKLIST = "see the checklist"
    PROVE_CHECKLIST = "prove the checklist"


class Role(StrEnum):
    MEMBER = "member"
    SALES = "sales"
    ADMIN = "admin"


_EVERYONE = frozenset({Permission.USE_PORTAL, Permission.SEE_PEOPLE})

GRANTS: dict[Role, frozenset[Permission]] = {
    Role.MEMBER: _EVERYONE,
    Role.SALES: _EVERYONE,
    Role.ADMIN: frozenset(Permission),
}
