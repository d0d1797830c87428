"""What the account itself is asked: owners, pipelines, properties, and how it stands with its limits."""

from itertools import islice

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from acme.hubspot.errors import HubSpotError
from acme.hubspot.gate import Gate, Handler
from acme.hubspot.inputs import cursor_of, is_archived, kind_of, limit_of
from acme.hubspot.kinds import DEALS, Kind
from acme.hubspot.limits import Limits
from acme.hubspot.moments import iso
from acme.hubspot.object_api import VERSION
from acme.hubspot.owners import Owner
from acme.hubspot.pages import send
from acme.hubspot.pipelines import PIPELINE_BY_ID, PIPELINES
from acme.hubspot.portal import PORTAL_ID, Portal
from acme.hubspot.properties import PROPERTIES
from acme.hubspot.rendering import Shown

_OWNERS = f"/crm/owners/{VERSION}"
_PIPELINES = f"/crm/pipelines/{VERSION}/{{kind}}"
_PROPERTIES = f"/crm/properties/{VERSION}/{{kind}}"
_ACCOUNT = f"/account-info/{VERSION}"
_MOST_OWNERS = 500


class AccountApi:
    def __init__(self, portal: Portal, gate: Gate, limits: Limits, address: str) -> None:
        self._portal = portal
        self._gate = gate
        self._limits = limits
        self._address = address

    def routes(self) -> list[Route]:
        table: tuple[tuple[str, Handler], ...] = (
            (_OWNERS, self._list_owners),
            (f"{_OWNERS}/{{key}}", self._get_owner),
            (_PIPELINES, self._list_pipelines),
            (f"{_PIPELINES}/{{key}}", self._get_pipeline),
            (f"{_PIPELINES}/{{key}}/stages", self._list_stages),
            (_PROPERTIES, self._list_properties),
            (f"{_PROPERTIES}/{{name}}", self._get_property),
            (f"{_ACCOUNT}/details", self._details),
            (f"{_ACCOUNT}/api-usage/daily/private-apps", self._usage),
        )
        return [Route(path, self._gate.before(handler), methods=["GET"]) for path, handler in table]

    # Owners

    async def _list_owners(self, request: Request) -> Response:
        """The deactivated are listed apart."""
        self._gate.require("crm.objects.owners.read")
        archived, email = is_archived(request), request.query_params.get("email", "").lower()
        limit, cursor = limit_of(request, 100, _MOST_OWNERS), cursor_of(request)
        fitting = (
            owner
            for owner in self._portal.owners
            if owner.is_archived == archived
            and int(owner.id) >= cursor
            and (not email or (owner.email or "").lower() == email)
        )
        found = list(islice(fitting, limit + 1))
        page: Shown = {"results": [owner.described() for owner in found[:limit]]}
        if len(found) > limit:
            after = found[limit].id
            link = f"{self._address}{_OWNERS}?limit={limit}&after={after}"
            page["paging"] = {"next": {"after": after, "link": link}}
        return send(request, page)

    async def _get_owner(self, request: Request) -> Response:
        self._gate.require("crm.objects.owners.read")
        key, by_user = request.path_params["key"], request.query_params.get("idProperty") == "userId"
        archived = is_archived(request)
        for owner in self._portal.owners:
            if owner.is_archived == archived and key == _key(owner, by_user=by_user):
                return send(request, owner.described())
        raise HubSpotError(404, "OBJECT_NOT_FOUND", "resource not found")

    # Pipelines and properties

    async def _list_pipelines(self, request: Request) -> Response:
        pipelines = PIPELINES if self._with_pipelines(request) is DEALS else ()
        return send(request, {"results": [pipeline.described() for pipeline in pipelines]})

    async def _get_pipeline(self, request: Request) -> Response:
        return send(request, self._pipeline(request))

    async def _list_stages(self, request: Request) -> Response:
        return send(request, {"results": self._pipeline(request)["stages"]})

    def _pipeline(self, request: Request) -> Shown:
        pipeline = PIPELINE_BY_ID.get(request.path_params["key"])
        if self._with_pipelines(request) is not DEALS or pipeline is None:
            raise HubSpotError(404, "OBJECT_NOT_FOUND", "resource not found")
        return pipeline.described()

    def _with_pipelines(self, request: Request) -> Kind:
        kind = kind_of(request)
        self._gate.require(f"crm.objects.{kind.name}.read")
        return kind

    async def _list_properties(self, request: Request) -> Response:
        kind = self._described(request)
        definitions = () if is_archived(request) else PROPERTIES[kind.name].values()
        return send(request, {"results": [each.described(kind) for each in definitions]})

    async def _get_property(self, request: Request) -> Response:
        kind, name = self._described(request), request.path_params["name"]
        definition = PROPERTIES[kind.name].get(name)
        if definition is None:
            message = f"A property named '{name}' does not exist."
            raise HubSpotError(404, "OBJECT_NOT_FOUND", message, sub_category="Properties.PROPERTY_NOT_FOUND")
        return send(request, definition.described(kind))

    def _described(self, request: Request) -> Kind:
        kind = kind_of(request)
        self._gate.require(f"crm.schemas.{kind.name}.read")
        return kind

    # The account

    async def _details(self, request: Request) -> Response:
        self._gate.require("oauth")
        return send(
            request,
            {
                "portalId": PORTAL_ID,
                "accountType": "STANDARD",
                "timeZone": "Europe/Berlin",
                "companyCurrency": "EUR",
                "additionalCurrencies": ["USD"],
                "utcOffset": "+01:00",
                "utcOffsetMilliseconds": 3_600_000,
                "uiDomain": "app.hubspot.com",
                "dataHostingLocation": "eu1",
            },
        )

    async def _usage(self, request: Request) -> Response:
        self._gate.require("oauth")
        usage = {
            "name": "private-apps-api-calls-daily",
            "usageLimit": self._limits.bounds.daily or 1_000_000,
            "currentUsage": self._limits.today,
            "collectedAt": iso(self._portal.now()),
            "fetchStatus": "SUCCESS",
            "resetsAt": iso(self._limits.resets_at),
        }
        return send(request, {"results": [usage]})


def _key(owner: Owner, *, by_user: bool) -> str:
    return str(owner.user_id) if by_user else owner.id
