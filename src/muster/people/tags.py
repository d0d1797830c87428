"""The tags of what is cached of the directory; whoever writes it busts them in the same transaction."""

PEOPLE, GROUPS, ORG_UNITS = "people", "groups", "org_units"
