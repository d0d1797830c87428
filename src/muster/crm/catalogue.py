"""What HubSpot's account is made of: pipelines with their stages, and the choices of its properties."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec

from muster.crm.fields import Kind
from muster.crm.record import Choice, Stage
from muster.platform.cache import Cache
from muster.platform.database import Database

TAG = "crm:catalogue"


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """`choices` are kind → property → what it may be, in HubSpot's order; `labels` kind → property → label.

    Stages are in HubSpot's order, pipeline after pipeline; those that are gone there are in `gone`.
    """

    stages: list[Stage]
    gone: list[Stage] = []
    choices: dict[Kind, dict[str, list[Choice]]]
    labels: dict[Kind, dict[str, str]]

    @property
    def pipelines(self) -> dict[str, str]:
        """Id → label, in order."""
        return {stage.pipeline_id: stage.pipeline for stage in self.stages}

    def stages_of(self, pipeline_id: str) -> list[Stage]:
        return [stage for stage in self.stages if stage.pipeline_id == pipeline_id]

    def stage(self, stage_id: str, pipeline_id: str = "") -> Stage | None:
        """By id; `pipeline_id` tells apart two that are called the same."""
        return _named(self.stages, stage_id, pipeline_id)

    def stage_or_gone(self, stage_id: str, pipeline_id: str = "") -> Stage | None:
        """The same, with those that HubSpot has no more and deals may still be in."""
        return self.stage(stage_id, pipeline_id) or _named(self.gone, stage_id, pipeline_id)

    def label_of(self, kind: Kind, name: str, value: str) -> str:
        """A choice as people read it; the value itself where HubSpot does not name it."""
        if name == "dealstage":
            stage = self.stage_or_gone(value)
            return stage.label if stage else value
        if name == "pipeline":
            stages = (*self.stages, *self.gone)
            return next((one.pipeline for one in stages if one.pipeline_id == value), value)
        known = self.choices.get(kind, {}).get(name, [])
        return next((choice.label for choice in known if choice.value == value), value)


def _named(stages: Sequence[Stage], stage_id: str, pipeline_id: str) -> Stage | None:
    found = [stage for stage in stages if stage.id == stage_id]
    return next((one for one in found if one.pipeline_id == pipeline_id), found[0] if found else None)


class _Defined(msgspec.Struct, frozen=True):
    kind: Kind
    name: str
    label: str
    choices: list[Choice]


class Catalogues:
    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache

    async def get(self) -> Catalogue:
        found = await self._cache.get(
            "crm:catalogue", Catalogue, self._read, tags=[TAG], ttl=timedelta(minutes=60)
        )
        return found.value

    async def _read(self) -> Catalogue:
        async with self._database.reading() as statements:
            stages, gone = [
                await statements.rows(
                    Stage,
                    "SELECT pipeline_id, pipeline, id, label, place, probability, is_closed, is_won "
                    "FROM crm_stages WHERE is_gone = %s ORDER BY place",
                    [is_gone],
                )
                for is_gone in (False, True)
            ]
            defined = await statements.rows(_Defined, "SELECT kind, name, label, choices FROM crm_properties")
        return Catalogue(
            stages=stages,
            gone=gone,
            choices={kind: {one.name: one.choices for one in defined if one.kind is kind} for kind in Kind},
            labels={kind: {one.name: one.label for one in defined if one.kind is kind} for kind in Kind},
        )
