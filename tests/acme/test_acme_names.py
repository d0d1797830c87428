"""The bijections that stand in for tables."""

from acme.names import FAMILY_PLAIN, GIVEN_PLAIN, name_of, number_at
from acme.people import FIRST_HEAD, Population, team_number, team_numbers

SAMPLE = [*range(2_000), *range(0, 1_020_000, 997)]
PEOPLE = Population(seed=1, today=1_790_000_000)


def test_no_two_names_are_spelled_alike() -> None:
    assert len({*GIVEN_PLAIN, *FAMILY_PLAIN}) == len(GIVEN_PLAIN) + len(FAMILY_PLAIN)
    assert all(name.isascii() and name.isalpha() for name in (*GIVEN_PLAIN, *FAMILY_PLAIN))


def test_an_address_leads_back_to_its_number() -> None:
    assert [number_at(name_of(number, seed=7).address, seed=7) for number in SAMPLE] == SAMPLE


def test_a_reversed_address_leads_back_too() -> None:
    assert [number_at(name_of(number, seed=7).reversed_address, seed=7) for number in SAMPLE] == SAMPLE


def test_what_is_no_address_has_no_number() -> None:
    wrong = ["", "anna", "chiara.", "chiara.zimmermann1", "chiara.zimmermann01", "chiara.chiara", "x.y"]

    assert [number_at(text, seed=1) for text in wrong] == [None] * len(wrong)


def test_an_id_leads_back_to_its_number() -> None:
    ids = [PEOPLE.id_of(number) for number in SAMPLE]

    assert [PEOPLE.number_of_id(person_id) for person_id in ids] == SAMPLE
    assert {len(person_id) for person_id in ids} == {21}


def test_everyone_below_the_top_is_in_one_team() -> None:
    size = 5_000
    teams = [team_number(number) for number in range(FIRST_HEAD, size)]
    listed = sorted(number for team in range(12) for run in team_numbers(team, size) for number in run)

    assert listed == list(range(FIRST_HEAD, size))
    assert all(
        teams[number - FIRST_HEAD] == team
        for team in range(12)
        for run in team_numbers(team, size)
        for number in run
    )


def test_another_seed_is_another_company() -> None:
    other = Population(seed=2, today=1_790_000_000)

    assert other.person(100).email != PEOPLE.person(100).email
