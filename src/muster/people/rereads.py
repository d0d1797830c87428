"""Asking Google again about single people: whom push named, and who was read twice at once."""

import asyncio
from collections.abc import Sequence

import msgspec

from muster.errors import VendorDown, VendorRefused
from muster.people.directory_copy import Absent, DirectoryCopy, Occasion, Reading, want_rereads
from muster.people.google_directory import Gone, GoogleDirectory
from muster.people.google_user import Record
from muster.people.removals import Removals
from muster.platform.database import Database
from muster.platform.telemetry import logger

AT_ONCE = 8
BATCH = 200
PUSHED = Occasion(source="push")


class Answers(msgspec.Struct, frozen=True):
    """What Google said of some people, each asked by id: `refused` ones may not be asked about, and of those
    under `down` it said nothing.
    """

    readings: list[Reading]
    absent: list[Absent]
    refused: dict[str, VendorRefused]
    down: dict[str, VendorDown]

    @property
    def present(self) -> list[str]:
        return [record.google_id for reading in self.readings for record in reading.records]


class _Wish(msgspec.Struct, frozen=True):
    google_id: str
    wish: int


class Rereads:
    def __init__(
        self, database: Database, directory: GoogleDirectory, copy: DirectoryCopy, removals: Removals
    ) -> None:
        self._database = database
        self._directory = directory
        self._copy = copy
        self._removals = removals

    async def want(self, google_ids: Sequence[str], *, because: str) -> None:
        async with self._database.transaction() as tx:
            await want_rereads(tx, google_ids, because=because)

    async def count(self) -> int:
        """How many people are still to be asked about."""
        return int(await self._database.value("SELECT count(*) FROM people_rereads"))

    async def work_off(self) -> int:
        """Ask Google about everybody who is named, the longest waiting first; how many were.

        A wish that comes while its person is being asked about is kept for another turn. Raises
        VendorDown when Google does not answer; what it did answer is kept.
        """
        done = 0
        while wishes := await self._database.rows(
            _Wish, "SELECT google_id, wish FROM people_rereads ORDER BY wish LIMIT %s", [BATCH]
        ):
            answers = await ask_about(self._directory, self._copy, [one.google_id for one in wishes])
            await self._settle(wishes, answers)
            done += len(wishes)
            if answers.down:
                raise next(iter(answers.down.values()))
        return done

    async def _settle(self, wishes: Sequence[_Wish], answers: Answers) -> None:
        granted = [one for one in wishes if one.google_id not in answers.down]
        news = await self._copy.compare(answers.readings)
        async with self._database.transaction() as tx:
            await self._copy.alone(tx)
            await self._copy.settle(tx, news, PUSHED)
            await self._removals.seen(tx, answers.present)
            await self._removals.apply(tx, answers.absent, PUSHED)
            await tx.execute(
                """
                DELETE FROM people_rereads USING unnest(%s::text[], %s::bigint[]) AS granted (google_id, wish)
                WHERE people_rereads.google_id = granted.google_id AND people_rereads.wish = granted.wish
                """,
                [[one.google_id for one in granted], [one.wish for one in granted]],
            )
            # To the back: who cannot be read keeps nobody else waiting.
            await tx.execute(
                "UPDATE people_rereads SET wish = nextval('directory_reads') WHERE google_id = ANY(%s)",
                [list(answers.down)],
            )
        logger.info("people_reread", present=len(answers.present), absent=len(answers.absent))


async def ask_about(directory: GoogleDirectory, copy: DirectoryCopy, google_ids: Sequence[str]) -> Answers:
    """Ask Google about each, AT_ONCE together; when it answers about none of those, about nobody more."""
    answers = Answers([], [], {}, {})
    for start in range(0, len(google_ids), AT_ONCE):
        some = google_ids[start : start + AT_ONCE]
        asked = await copy.number()
        said = await asyncio.gather(*(directory.user(one) for one in some), return_exceptions=True)
        for google_id, answer in zip(some, said, strict=True):
            match answer:
                case Gone():
                    answers.absent.append(Absent(asked=asked, gone=answer))
                case Record():
                    answers.readings.append(Reading(asked=asked, records=[answer]))
                case VendorRefused():
                    logger.warning("person_not_shown", google_id=google_id, error=str(answer))
                    answers.refused[google_id] = answer
                case VendorDown():
                    answers.down[google_id] = answer
                case BaseException():
                    raise answer
        if all(google_id in answers.down for google_id in some):
            answers.down.update(dict.fromkeys(google_ids[start:], answers.down[some[0]]))
            break
    return answers
