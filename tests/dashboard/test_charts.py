"""The charts: values become geometry, names are escaped, and nothing to show is no error."""

from datetime import date
from xml.etree import ElementTree as ET

import pytest
from markupsafe import Markup

from muster.dashboard.charts import Bar, bars, joined_and_left
from muster.dashboard.metrics import Month


def parse(svg: Markup) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314  our own markup


def of_class(svg: Markup, name: str) -> list[ET.Element]:
    return [element for element in parse(svg).iter() if element.get("class") == name]


def heights(svg: Markup, name: str) -> list[float]:
    return [float(column.attrib["height"]) for column in of_class(svg, name)]


def test_a_bar_is_as_long_as_its_share_of_the_longest() -> None:
    svg = bars([Bar("Sales", 40), Bar("Finance", 10)], title="People by department")

    assert [bar.get("width") for bar in of_class(svg, "bar")] == ["100.0%", "25.0%"]


def test_a_bar_of_one_among_thousands_can_still_be_seen_and_a_bar_of_none_cannot() -> None:
    svg = bars([Bar("Sales", 9000), Bar("Legal", 1), Bar("Art", 0)], title="People")

    assert [bar.get("width") for bar in of_class(svg, "bar")] == ["100.0%", "0.5%", "0%"]


def test_a_bar_leads_to_its_people_where_it_has_an_address() -> None:
    svg = parse(
        bars([Bar("R&D", 3, "/people?department=R%26D&status=active"), Bar("Rest", 1)], title="People")
    )

    assert [link.get("href") for link in svg.iter("a")] == ["/people?department=R%26D&status=active"]


def test_names_and_addresses_from_outside_cannot_become_markup() -> None:
    hostile = '"><script>alert(1)</script>'
    svg = bars([Bar(hostile, 3, hostile)], title=hostile)

    assert "<script" not in svg
    assert next(parse(svg).iter("title")).text == hostile + ": 3"


def test_a_long_name_is_shortened_to_the_eye_and_whole_when_pointed_at() -> None:
    name = "Information Technology and Workplace Services"
    svg = bars([Bar(name, 1200)], title="People")

    assert of_class(svg, "bar-label")[0].text == "Information Technology and Workpl…"
    assert next(parse(svg).iter("title")).text == f"{name}: 1,200"


def test_bars_beyond_the_limit_are_added_up() -> None:
    svg = bars([Bar("A", 5), Bar("B", 4), Bar("C", 3), Bar("D", 2)], title="People", at_most=3)

    assert [label.text for label in of_class(svg, "bar-label")] == ["A", "B", "2 others"]
    assert of_class(svg, "bar")[-1].get("width") == "100.0%"


def test_no_departments_make_an_empty_picture() -> None:
    svg = parse(bars([], title="People"))

    assert svg.get("height") == "0"
    assert not list(svg)


def test_columns_stand_on_one_line_and_share_one_scale() -> None:
    svg = joined_and_left([Month(date(2026, 3, 1), joined=20, left=5)], title="Joined and left")

    (joined,), (left,) = of_class(svg, "first"), of_class(svg, "second")
    assert float(joined.attrib["height"]) == 4 * float(left.attrib["height"])
    feet = [float(column.attrib["y"]) + float(column.attrib["height"]) for column in (joined, left)]
    assert feet[0] == feet[1]


@pytest.mark.parametrize(
    ("peak", "marks"),
    [
        (0, ["2", "1", "0"]),
        (3, ["4", "2", "0"]),
        (10, ["10", "5", "0"]),
        (11, ["20", "10", "0"]),
        (41, ["60", "30", "0"]),
        (999, ["1,000", "500", "0"]),
        (1001, ["2,000", "1,000", "0"]),
    ],
)
def test_the_scale_ends_at_a_round_number_with_a_whole_half(peak: int, marks: list[str]) -> None:
    svg = parse(joined_and_left([Month(date(2026, 3, 1), peak, 0)], title="Joined"))

    assert [text.text for text in svg.iter("text") if text.get("text-anchor") == "end"] == marks


def test_no_column_is_taller_than_the_plot() -> None:
    months = [Month(date(2026, month, 1), joined=month * 97, left=0) for month in range(1, 13)]

    tallest = max(heights(joined_and_left(months, title="Joined"), "first"))

    assert tallest <= float(of_class(joined_and_left(months, title="Joined"), "hit")[0].attrib["height"])


def test_every_month_is_told_in_words() -> None:
    months = [Month(date(2026, 1, 1), 1200, 3), Month(date(2026, 2, 1), 0, 0)]

    svg = parse(joined_and_left(months, title="Joined and left"))

    assert svg.get("aria-label") == "Joined and left"
    description = svg.find("desc")
    assert description is not None
    assert description.text == "January 2026: 1,200 joined, 3 left; February 2026: 0 joined, 0 left"


def test_years_are_named_where_they_begin() -> None:
    def years(*starts: date) -> list[str | None]:
        svg = parse(joined_and_left([Month(start, 1, 1) for start in starts], title="Joined"))
        return [text.text for text in svg.iter("text") if (text.text or "").startswith("20")]

    assert years(date(2025, 11, 1), date(2025, 12, 1), date(2026, 1, 1)) == ["2025", "2026"]
    assert years(date(2025, 12, 1), date(2026, 1, 1)) == ["2026"]  # side by side they would touch


def test_many_months_are_not_all_named() -> None:
    months = [Month(date(2020 + i // 12, i % 12 + 1, 1), 1, 0) for i in range(36)]

    svg = parse(joined_and_left(months, title="Joined"))

    names = [text.text for text in svg.iter("text") if (text.text or "").isalpha()]
    assert len(names) == 12


def test_no_months_leave_the_scale_alone() -> None:
    svg = joined_and_left([], title="Joined and left")

    assert not of_class(svg, "band")
    assert of_class(svg, "base")
