"""The documentation says what is: nothing it names is missing, and nothing it should name either."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from muster.__main__ import main
from muster.crm.hubspot import SCOPES as HUBSPOT_SCOPES
from muster.people.google_api import SCOPES
from muster.readiness.checklist import ROWS, Row
from muster.settings import MEANINGS, load

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RUNBOOKS = DOCS / "runbooks"
SOURCES = sorted((ROOT / "src" / "muster").rglob("*.py"))
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
DECISIONS = sorted(DOCS.glob("decisions/[0-9]*.md"))

RUNBOOK_SECTIONS = [
    "What it means",
    "See it by hand",
    "Likely causes",
    "Mend",
    "How it is sabotaged",
]
DECISION_SECTIONS = ["Context", "Decision", "Consequences", "What lost"]

MINIMAL = {
    "SECRET_KEY": "k" * 32,
    "DATABASE_URL": "postgresql://localhost/muster",
    "REDIS_URL": "redis://localhost",
    "ALLOWED_DOMAINS": "acme.test",
    "GOOGLE_CLIENT_ID": "id",
    "GOOGLE_CLIENT_SECRET": "secret",
}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def settings_read() -> set[str]:
    """Names by which the code reads the environment: `env.str("NAME", …)` or `_url(env, "NAME", …)`."""
    found = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            match node.func, node.args:
                case ast.Attribute(value=ast.Name(id="env")), [ast.Constant(value=str(name)), *_]:
                    found.add(name)
                case _, [ast.Name(id="env"), ast.Constant(value=str(name)), *_]:
                    found.add(name)
    return found


def settings_documented() -> dict[str, str]:
    """Name → what its row gives as the default."""
    section = part((DOCS / "operating.md").read_text("utf-8"), "Settings")
    return dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([^|]*) \|", section, re.MULTILINE))


def part(page: str, heading: str) -> str:
    return page.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def sections(page: str) -> list[str]:
    return re.findall(r"^## (.+)$", without_code(page), re.MULTILINE)


def without_code(page: str) -> str:
    """Without fenced blocks, where a `#` begins a comment."""
    return re.sub(r"^```.*?^```", "", page, flags=re.DOTALL | re.MULTILINE)


def links(page: str) -> list[str]:
    """Where the links and pictures of a Markdown page lead."""
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", without_code(page)))


def headings(page: str) -> set[str]:
    """The anchors by which a page's headings are reached, made as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def commands(group: click.Group, path: str) -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}"


def test_every_setting_is_documented_and_no_other():
    assert settings_documented().keys() == settings_read()


@pytest.mark.parametrize("name", sorted(settings_documented().keys() - {"ACME_PEOPLE"}))
def test_a_documented_default_is_the_default(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    if name in MINIMAL:
        assert settings_documented()[name].startswith("none")
        return
    for each in settings_read():
        monkeypatch.delenv(each, raising=False)
        monkeypatch.delenv(f"{each}_FILE", raising=False)
    for each, value in MINIMAL.items():
        monkeypatch.setenv(each, value)
    monkeypatch.chdir(tmp_path)

    shown = load().shown()[name]

    quoted = re.match(r"`([^`]+)`", settings_documented()[name])
    if quoted:
        assert shown.removeprefix(f"{Path.cwd()}/") == quoted.group(1)
    else:
        assert settings_documented()[name].startswith("none")
        assert shown in {"(none)", "(not set)", "None"}


def test_settings_are_explained_in_the_same_words_on_the_page():
    section = part((DOCS / "operating.md").read_text("utf-8"), "Settings")
    documented = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, re.MULTILINE))

    told = {name: meaning for of_group in MEANINGS.values() for name, meaning in of_group.items()}

    assert {name: documented[name].replace("`", "") for name in told} == told


def test_the_scopes_to_delegate_are_those_the_directory_asks_for():
    steps = part((DOCS / "operating.md").read_text("utf-8"), "Google, step by step")

    assert set(re.findall(r"https://www\.googleapis\.com/auth/\S+", steps)) == set(SCOPES)


def test_the_scopes_to_grant_are_those_hubspot_is_asked_with():
    steps = part((DOCS / "operating.md").read_text("utf-8"), "HubSpot, step by step")

    assert set(re.findall(r"^ +(crm\.\S+)$", steps, re.MULTILINE)) == set(HUBSPOT_SCOPES)


def test_every_metric_is_documented_and_no_other():
    declared = ast.parse((ROOT / "src/muster/platform/prometheus.py").read_text("utf-8"))
    kept = {
        node.args[0].value
        for node in ast.walk(declared)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"Counter", "Gauge", "Histogram"}
        and isinstance(node.args[0], ast.Constant)
    }

    section = part((DOCS / "operating.md").read_text("utf-8"), "Metrics")

    assert set(re.findall(r"^\| `(muster_\w+)` \|", section, re.MULTILINE)) == kept


@pytest.mark.parametrize("page", ["README.md", "docs/operating.md"])
def test_every_command_is_documented_and_no_other(page: str):
    section = part((ROOT / page).read_text("utf-8"), "Commands")

    documented = set(re.findall(r"^\| `(muster [a-z ]+)` \|", section, re.MULTILINE))

    assert isinstance(main, click.Group)
    assert documented == set(commands(main, "muster"))


def test_every_row_has_a_runbook_and_every_runbook_a_row():
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == {row.id for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_runbook_repeats_the_promise_and_is_no_stub(row: Row):
    page = (RUNBOOKS / f"{row.id}.md").read_text("utf-8")

    assert page.startswith(f"# {row.title} (`{row.id}`)\n\n> {row.promise}\n")
    assert (f"Survives: {row.survives}." in page) == bool(row.survives)
    assert sections(page) == RUNBOOK_SECTIONS
    assert "```sh" in part(page, "See it by hand"), "no command to see it by"
    assert len(re.findall(r"^\d+\. ", part(page, "Likely causes"), re.MULTILINE)) >= 2
    assert len(page.split()) > 150


def test_the_list_of_runbooks_is_whole():
    listed = re.findall(r"\]\(([\w.]+)\.md\)", (RUNBOOKS / "README.md").read_text("utf-8"))

    assert sorted(listed) == sorted(row.id for row in ROWS)


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_says_what_lost(path: Path):
    page = path.read_text("utf-8")

    assert page.startswith(f"# {path.name[:4]}. ")
    assert sections(page) == DECISION_SECTIONS


def test_decisions_are_numbered_without_a_gap_and_listed():
    numbers = [int(path.name[:4]) for path in DECISIONS]
    index = (DOCS / "decisions" / "README.md").read_text("utf-8")

    assert numbers == list(range(1, len(DECISIONS) + 1))
    assert links(index) == [path.name for path in DECISIONS]


ASVS = """
1.1: 1 2; 1.2: 1 2 3 4 5 6 7 8 9; 1.3: 1 2 3 4 5 6 7 8 9 10 11; 1.4: 1 2 3; 1.5: 1 2;
2.1: 1 2 3; 2.2: 1 2 3; 2.3: 1 2 3 4; 2.4: 1; 3.2: 1 2; 3.3: 1 2 3 4; 3.4: 1 2 3 4 5 6;
3.5: 1 2 3 4 5; 3.7: 1 2; 4.1: 1 2 3; 4.2: 1; 4.3: 1 2; 4.4: 1 2 3 4; 5.1: 1; 5.2: 1 2 3;
5.3: 1 2; 5.4: 1 2 3; 6.1: 1 2 3; 6.2: 1 2 3 4 5 6 7 8 9 10 11 12; 6.3: 1 2 3 4;
6.4: 1 2 3 4; 6.5: 1 2 3 4 5; 6.6: 1 2 3; 6.8: 1 2 3 4; 7.1: 1 2 3; 7.2: 1 2 3 4; 7.3: 1 2;
7.4: 1 2 3 4 5; 7.5: 1 2; 7.6: 1 2; 8.1: 1 2; 8.2: 1 2 3; 8.3: 1; 8.4: 1; 9.1: 1 2 3;
9.2: 1 2 3 4; 10.1: 1 2; 10.2: 1 2; 10.3: 1 2 3 4; 10.4: 1 2 3 4 5 6 7 8 9 10 11;
10.5: 1 2 3 4 5; 10.6: 1 2; 10.7: 1 2 3; 11.1: 1 2; 11.2: 1 2 3; 11.3: 1 2 3; 11.4: 1 2 3 4;
11.5: 1; 11.6: 1; 12.1: 1 2 3; 12.2: 1 2; 12.3: 1 2 3 4; 13.1: 1; 13.2: 1 2 3 4 5; 13.3: 1 2;
13.4: 1 2 3 4 5; 14.1: 1 2; 14.2: 1 2 3 4; 14.3: 1 2 3; 15.1: 1 2 3; 15.2: 1 2 3;
15.3: 1 2 3 4 5 6 7; 16.1: 1; 16.2: 1 2 3 4 5; 16.3: 1 2 3 4; 16.4: 1 2 3; 16.5: 1 2 3;
17.1: 1; 17.2: 1 2 3 4; 17.3: 1 2
"""
"""Section → its items of levels 1 and 2, in OWASP's ASVS 5.0.0."""


def asvs_items() -> list[str]:
    sections = (one.split(":") for one in ASVS.replace("\n", " ").split(";"))
    return [f"{section.strip()}.{number}" for section, numbers in sections for number in numbers.split()]


def security_rows() -> list[tuple[list[str], list[str]]]:
    """For each row of docs/security.md that goes through the standard: its items, and what stands in code."""
    page = (DOCS / "security.md").read_text("utf-8").split("## Item by item", 1)[1]
    rows = re.findall(r"^\| (\d[\d., ]*) \|(.*)\|$", page, re.MULTILINE)
    return [(ids.replace(",", " ").split(), re.findall(r"`([^`]+)`", rest)) for ids, rest in rows]


def test_security_goes_through_every_item_once():
    named = [item for items, _ in security_rows() for item in items]

    assert sorted(named) == sorted(asvs_items())


def test_security_names_paths_tests_and_rows_that_there_are():
    for items, named in security_rows():
        for one in named:
            path, _, name = one.partition("::")
            if path.startswith(("src/", "tests/")):
                assert (ROOT / path).exists(), (items, one)
            if name:
                assert re.search(rf"def {name}\(", (ROOT / path).read_text("utf-8")), (items, one)
    rows = {one for _, named in security_rows() for one in named if re.fullmatch(r"[a-z]+\.[a-z_]+", one)}
    assert rows <= {row.id for row in ROWS} | {"uv.lock"}
    assert len(rows) >= 8


def test_the_layers_are_drawn_as_they_are_kept():
    linter = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    kept = next(contract["layers"] for contract in linter["contracts"] if contract["type"] == "layers")
    page = (DOCS / "architecture.md").read_text("utf-8")

    drawn = re.findall(r"```\n(.*?)```", part(page, "Who may import whom"), re.DOTALL)

    assert [block.splitlines() for block in drawn] == [kept]


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_links_lead_somewhere(path: Path):
    for link in links(path.read_text("utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        page = (path.parent / target).resolve() if target else path
        assert page.exists(), f"{relative(path)} leads to {link}, which is not there"
        if anchor:
            assert anchor in headings(page.read_text("utf-8")), f"{relative(path)} leads to {link}"


def test_code_leads_to_pages_that_are_there():
    for path in SOURCES:
        for named in re.findall(r"docs/[\w./-]+\.(?:md|svg)", path.read_text("utf-8")):
            assert (ROOT / named).is_file(), f"{relative(path)} names {named}, which is not there"
