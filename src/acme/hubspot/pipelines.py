"""The two deal pipelines of Acme's portal."""

from typing import NamedTuple

from acme.hubspot.moments import iso

_MADE_AT = 1_598_918_400_000
_FIRST_MADE_AT = 0  # stages of the pipeline every portal begins with


class Stage(NamedTuple):
    id: str
    label: str
    probability: str
    weight: int
    """How many of a hundred deals stand here."""

    @property
    def is_won(self) -> bool:
        return self.probability == "1.0"

    @property
    def is_closed(self) -> bool:
        return self.probability in {"1.0", "0.0"}


class Pipeline(NamedTuple):
    id: str
    label: str
    stages: tuple[Stage, ...]

    def described(self) -> dict[str, object]:
        at = iso(_FIRST_MADE_AT if self.id == "default" else _MADE_AT)
        return {
            "label": self.label,
            "displayOrder": PIPELINES.index(self),
            "id": self.id,
            "stages": [_described(place, stage, at) for place, stage in enumerate(self.stages)],
            "createdAt": at,
            "updatedAt": iso(_MADE_AT),
            "archived": False,
        }


def _described(place: int, stage: Stage, at: str) -> dict[str, object]:
    """Truth and likelihood travel as strings."""
    return {
        "label": stage.label,
        "displayOrder": place,
        "metadata": {
            "isClosed": truth(stage.is_closed),
            "probability": stage.probability,
        },
        "id": stage.id,
        "createdAt": at,
        "updatedAt": iso(_MADE_AT),
        "archived": False,
        "writePermissions": "CRM_PERMISSIONS_ENFORCEMENT",
    }


SALES = Pipeline(
    "default",
    "Sales Pipeline",
    (
        Stage("appointmentscheduled", "Appointment scheduled", "0.2", 11),
        Stage("qualifiedtobuy", "Qualified to buy", "0.4", 10),
        Stage("presentationscheduled", "Presentation scheduled", "0.6", 8),
        Stage("decisionmakerboughtin", "Decision maker bought-in", "0.8", 7),
        Stage("contractsent", "Contract sent", "0.9", 6),
        Stage("closedwon", "Closed won", "1.0", 31),
        Stage("closedlost", "Closed lost", "0.0", 27),
    ),
)
RENEWALS = Pipeline(
    "75190321",
    "Renewals",
    (
        Stage("146208801", "Renewal due", "0.5", 16),
        Stage("146208802", "Terms agreed", "0.8", 12),
        Stage("146208803", "Paperwork out", "0.9", 9),
        Stage("146208804", "Renewed", "1.0", 45),
        Stage("146208805", "Churned", "0.0", 18),
    ),
)
PIPELINES = (SALES, RENEWALS)
PIPELINE_BY_ID = {pipeline.id: pipeline for pipeline in PIPELINES}
STAGES = {stage.id: stage for pipeline in PIPELINES for stage in pipeline.stages}
PIPELINE_OF_STAGE = {stage.id: pipeline for pipeline in PIPELINES for stage in pipeline.stages}


def truth(claim: object) -> str:
    """As HubSpot spells it everywhere."""
    return "true" if claim else "false"


def followers(stage_id: str) -> dict[str, str]:
    """What HubSpot itself sets on a deal that stands there."""
    stage = STAGES.get(stage_id)
    if stage is None:
        return {}
    return {
        "hs_is_closed": truth(stage.is_closed),
        "hs_is_closed_won": truth(stage.is_won),
        "hs_deal_stage_probability": stage.probability,
    }
