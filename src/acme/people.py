"""Who works at Acme: each person computed from seed and number, none stored."""

from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from struct import Struct as Layout

import msgspec

from acme.company import CONTRACTORS_UNIT, DOMAIN, TEAMS, Office, Team, offices_of
from acme.names import FAMILY, GIVEN, name_of, number_at, numbers_starting

DAY = 86_400
TECHNICAL_DOMAIN = "test-google-a.com"
_ADA, _BEN, _CY = range(3)
_FIXED = ("ada", "ben", "cy")
_FIXED_NAMES = (("Ada", "Lindqvist"), ("Ben", "Okoro"), ("Cy", "Marchetti-Rao"))
FIRST_HEAD = len(_FIXED)
FIRST_REPORT = FIRST_HEAD + len(TEAMS)
_FAN_OUT = 8

# Each level of the tree of managers is one run of numbers: (its first number, how many of a team are in it).
_LEVELS = [(FIRST_HEAD, 1)]
while _LEVELS[-1][0] < 5_000_000:
    _LEVELS.append((FIRST_REPORT + (_LEVELS[-1][0] - FIRST_HEAD) * _FAN_OUT, _LEVELS[-1][1] * _FAN_OUT))

# Google's ids are 21 digits. This walk through 20 digits can be undone, so an id says its number.
_ID_SPACE = 10**20
_ID_START = 7_320_508_075_688_772_935
_ID_STEP = 61_803_398_874_989_484_821
_ID_STEP_BACK = pow(_ID_STEP, -1, _ID_SPACE)

_HIRED_FROM, _HIRED_UNTIL = 1_325_376_000, 1_735_689_600  # the years 2012 to 2024
_CHANCES = 1 << 16
_SUSPENDED, _ARCHIVED = _CHANCES * 30 // 1000, _CHANCES * 42 // 1000
_ADMIN, _DELEGATED, _GUEST = _CHANCES * 6 // 1000, _CHANCES * 15 // 1000, _CHANCES * 24 // 1000
_ENROLLED, _ENFORCED = _CHANCES * 86 // 100, _CHANCES * 71 // 100
_MOBILE, _PHOTO, _SCHEMAS = _CHANCES * 60 // 100, _CHANCES * 80 // 100, _CHANCES * 25 // 100
_CONTRACTOR, _NEVER_CAME, _JOINER = _CHANCES * 4 // 100, _CHANCES * 3 // 100, _CHANCES * 25 // 1000
_JOINER_OF_THE_YEAR = _JOINER + _CHANCES // 10
_DRAWS = Layout("<16H8s")
_OFFICES = {team.name: offices_of(team) for team in TEAMS}


class Person(msgspec.Struct, frozen=True):
    """One employee. Times are whole seconds since 1970, `None` where the thing has not happened."""

    number: int
    id: str
    email: str
    given: str
    family: str
    aliases: tuple[str, ...]
    department: str
    team: str
    unit: str
    title: str
    manager: str | None
    employee_number: str
    office: Office
    extension: int
    has_mobile: bool
    has_photo: bool
    has_schemas: bool
    created_at: int
    last_login_at: int | None
    is_admin: bool = False
    is_delegated_admin: bool = False
    is_guest: bool = False
    is_enrolled_in_2sv: bool = False
    is_enforced_in_2sv: bool = False
    suspended_at: int | None = None
    suspension_reason: str = "ADMIN"
    archived_at: int | None = None
    deleted_at: int | None = None
    etag: str = ""

    @property
    def full_name(self) -> str:
        return f"{self.given} {self.family}"

    @property
    def technical_alias(self) -> str:
        """The address Google adds to everyone, which nobody can remove."""
        return f"{self.email}.{TECHNICAL_DOMAIN}"

    @property
    def may_sign_in(self) -> bool:
        return self.suspended_at is None and self.archived_at is None and self.deleted_at is None


_LEVEL_STARTS = [start for start, _ in _LEVELS]


def team_number(number: int) -> int:
    """Which of TEAMS a number belongs to, by the head it reports to in the end."""
    start, of_a_team = _LEVELS[bisect_right(_LEVEL_STARTS, number) - 1]
    return (number - start) // of_a_team


def team_numbers(team: int, size: int) -> list[range]:
    """Everyone of a team in a company of `size`, as a few runs of numbers."""
    runs = [
        range(start + team * of_a_team, min(start + (team + 1) * of_a_team, size))
        for start, of_a_team in _LEVELS
    ]
    return [run for run in runs if run]


class Population:
    """The people of one seed; `today` is the midnight (seconds) that recent events are counted back from."""

    def __init__(self, seed: int, today: int) -> None:
        self._seed = seed
        self._today = today
        self._hash = blake2b(digest_size=40, key=seed.to_bytes(8, "big"))
        self._etag_end = f".{today // DAY}"
        self._address_of_manager: Callable[[int], str] = lru_cache(1_024)(self.address_of)
        """Eight neighbours share one."""

    def number_of_id(self, person_id: str) -> int | None:
        if len(person_id) != 21 or not person_id.isdecimal():
            return None
        return (int(person_id) - _ID_START - self._seed) * _ID_STEP_BACK % _ID_SPACE

    def number_of_address(self, address: str) -> int | None:
        """Undoes `person().email` and both kinds of alias; someone may no longer have the address."""
        local_part, _, domain = address.lower().removesuffix(f".{TECHNICAL_DOMAIN}").partition("@")
        if domain != DOMAIN:
            return None
        if local_part in _FIXED:
            return _FIXED.index(local_part)
        return number_at(local_part, self._seed)

    def id_of(self, number: int) -> str:
        return str(_ID_SPACE + (_ID_START + self._seed + number * _ID_STEP) % _ID_SPACE)

    def _drawn(self, number: int) -> bytes:
        """Forty bytes of chance, always the same for a number."""
        drawing = self._hash.copy()
        drawing.update(number.to_bytes(8, "big"))
        return drawing.digest()

    def etag_of(self, number: int) -> str:
        return self._drawn(number)[-8:].hex() + self._etag_end

    def address_of(self, number: int) -> str:
        local_part = _FIXED[number] if number < FIRST_HEAD else name_of(number, self._seed).address
        return f"{local_part}@{DOMAIN}"

    def aliases_of(self, number: int) -> tuple[str, ...]:
        return self._called(number)[3]

    def starting_with(self, prefix: str, end: int) -> list[int]:
        """Everybody below `end` with an address or alias that begins so, in the order of numbers."""
        own = numbers_starting(prefix, self._seed, end)
        reversed_ones = numbers_starting(prefix, self._seed, end, is_reversed=True)
        found = {*own, *(number for number in reversed_ones if _has_alias(number))}
        found = {number for number in found if number >= FIRST_HEAD}.union(range(FIRST_HEAD))
        is_rough = {number for number in found if "." in prefix or number < FIRST_HEAD}
        return sorted(found - {number for number in is_rough if not self.has_prefix(number, prefix)})

    def has_prefix(self, number: int, prefix: str) -> bool:
        return any(
            address.startswith(prefix) for address in (self.address_of(number), *self.aliases_of(number))
        )

    def person(self, number: int) -> Person:
        draws = _DRAWS.unpack(self._drawn(number))
        fate, joining, joined, login, login_at, safety, rank, place, extension = draws[:9]
        mobile, photo, schemas, title, left, contract, _spare, mark = draws[9:]
        is_ordinary = number >= FIRST_REPORT
        team = TEAMS[team_number(number)] if number >= FIRST_HEAD else TEAMS[(11, 0, 3)[number]]
        offices = _OFFICES[team.name]
        created_at = self._created_at(joining if is_ordinary else _CHANCES, joined)
        last_login_at = max(created_at, self._today - 30 * DAY * login_at * login_at // _CHANCES**2)
        is_suspended = is_ordinary and fate < _SUSPENDED
        is_archived = is_ordinary and _SUSPENDED <= fate < _ARCHIVED
        left_at = max(created_at, self._today - 200 * DAY * left // _CHANCES)
        given, family, email, aliases = self._called(number)
        return Person(
            number=number,
            id=self.id_of(number),
            email=email,
            given=given,
            family=family,
            aliases=aliases,
            department=team.department,
            team=team.name,
            unit=CONTRACTORS_UNIT if is_ordinary and contract < _CONTRACTOR else team.unit,
            title=_title(number, team, title),
            manager=self._manager(number),
            employee_number=f"{number + 1:07d}",
            office=offices[place % len(offices)],
            extension=extension % 10_000,
            has_mobile=mobile < _MOBILE,
            has_photo=photo < _PHOTO or not is_ordinary,
            has_schemas=schemas < _SCHEMAS,
            created_at=created_at,
            last_login_at=_last_login(last_login_at, login, left_at if is_suspended or is_archived else None),
            is_admin=number == _ADA or (is_ordinary and rank < _ADMIN),
            is_delegated_admin=is_ordinary and _ADMIN <= rank < _DELEGATED,
            is_guest=is_ordinary and _DELEGATED <= rank < _GUEST,
            is_enrolled_in_2sv=safety < _ENROLLED or not is_ordinary,
            is_enforced_in_2sv=safety < _ENFORCED,
            suspended_at=left_at if is_suspended else None,
            suspension_reason="WEB_LOGIN_REQUIRED" if left % 5 == 0 else "ADMIN",
            archived_at=left_at if is_archived else None,
            etag=mark.hex() + self._etag_end,
        )

    def _called(self, number: int) -> tuple[str, str, str, tuple[str, ...]]:
        """Given name, family name, address and aliases."""
        if number < FIRST_HEAD:
            return *_FIXED_NAMES[number], self.address_of(number), ()
        name = name_of(number, self._seed)
        aliases = (f"{name.reversed_address}@{DOMAIN}",) if _has_alias(number) else ()
        return GIVEN[name.given], FAMILY[name.family], f"{name.address}@{DOMAIN}", aliases

    def _created_at(self, joining: int, joined: int) -> int:
        """One in forty joined within the last 30 days and one in ten within the year, whenever this runs;
        the others at a fixed time.
        """
        if joining < _JOINER:
            return self._today - 30 * DAY * joined // _CHANCES
        if joining < _JOINER_OF_THE_YEAR:
            return self._today - 365 * DAY * joined // _CHANCES
        return _HIRED_FROM + (_HIRED_UNTIL - _HIRED_FROM) * joined // _CHANCES

    def _manager(self, number: int) -> str | None:
        if number == _ADA:
            return None
        if number < FIRST_REPORT:
            return self._address_of_manager(_ADA)
        return self._address_of_manager(FIRST_HEAD + (number - FIRST_REPORT) // _FAN_OUT)


def _has_alias(number: int) -> bool:
    return number >= FIRST_HEAD and number % 8 == 3


def _title(number: int, team: Team, draw: int) -> str:
    if number < FIRST_HEAD:
        return ("Managing director", "Sales operations lead", "Engineer")[number]
    if number < FIRST_REPORT:
        return f"Head of {team.name}"
    return team.titles[draw % len(team.titles)]


def _last_login(at: int, draw: int, left_at: int | None) -> int | None:
    """Three in a hundred never came; who left was last here before."""
    if draw < _NEVER_CAME:
        return None
    return at if left_at is None else min(at, left_at)
