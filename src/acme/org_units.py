"""Acme's organizational units as orgunits.list gives them."""

from acme.google_error import invalid
from acme.reply import Resource, etag_of
from acme.tenant import Tenant

_TYPES = {"all", "children", "allIncludingParent"}


def org_units(tenant: Tenant, params: dict[str, str]) -> list[Resource]:
    """Below `orgUnitPath` (the root): its children, or with `type=all` everything."""
    kind = params.get("type", "children")
    if kind not in _TYPES:
        raise invalid("type")
    top = "/" + params.get("orgUnitPath", "").strip("/")
    prefix = "/" if top == "/" else f"{top}/"
    paths = [path for path in tenant.units() if path.startswith(prefix)]
    if kind == "children":
        paths = [path for path in paths if "/" not in path.removeprefix(prefix)]
    if kind == "allIncludingParent":
        paths.insert(0, top)
    return [_org_unit(path) for path in paths]


def _org_unit(path: str) -> Resource:
    parent, _, name = path.rpartition("/")
    unit: Resource = {
        "kind": "admin#directory#orgUnit",
        "etag": etag_of(path.encode()),
        "name": name or "Acme",
        "description": "",
        "orgUnitPath": path,
        "orgUnitId": _unit_id(path),
    }
    if path != "/":
        unit |= {"parentOrgUnitPath": parent or "/", "parentOrgUnitId": _unit_id(parent or "/")}
    return unit


def _unit_id(path: str) -> str:
    return f"id:03ph8a2z{etag_of(path.encode())[1:9]}"
