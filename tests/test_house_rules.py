"""Rules of the house that no linter knows. Each is shown to notice a breach, too."""

import ast
import importlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest
from typing_extensions import override

from muster.access.roles import Permission
from muster.crm.fields import Kind
from muster.platform import queue, redis
from muster.platform.routes import Anyone, Route
from muster.settings import Secret, Settings
from muster.wiring import make

ROOT = Path(__file__).parents[1]

OPEN_TO_ANYONE = {
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/status"),
    ("GET", "/openapi.json"),
    ("GET", "/sign-in"),
    ("GET", "/sign-in/google"),
    ("GET", "/sign-in/google/callback"),
    ("GET", "/api/{anywhere:path}"),
    ("POST", "/hooks/google"),
    ("POST", "/hooks/hubspot"),
    ("POST", "/browser-reports"),
}
"""Whoever adds a route that needs no session adds it here, on purpose."""

EDGES = {
    "muster/web.py Errors.__call__": "the web edge: whatever was raised becomes an answer",
    "muster/web.py Errors._answer_at_all_costs": "the page that says so may be what is broken",
    "muster/readiness/proofs.py ask": "the probe runner: a probe that breaks has not shown its promise",
    "muster/readiness/watch.py _again": "whatever broke this turn of who watches, there is a next",
    "muster/platform/notify.py _send": "whatever a plugin breaks on, the message was not taken",
    "muster/readiness/health.py Health._ask": "whatever is wrong with a component, it is not there",
    "muster/platform/error_reports.py _Handler.emit": "telling of an error must not be another",
    "muster/platform/queue/taking.py BullWorker._settle": "a job's error is its fate, which Redis is told",
}
"""Where any error may end."""

WAYSIDES = {
    "muster/platform/queue/working.py _run": "the run is counted",
    "muster/platform/queue/working.py _run_logged": "the job runner writes its log line",
    "muster/platform/database.py Database._check": "dead connections are thrown out of the pool",
    "muster/people/runs.py Runs.run": "the run is kept with its reason",
    "muster/crm/runs.py CrmRuns.run": "the run is kept with its reason",
    "muster/platform/tracing.py Tracing.span": "the span says that it failed",
    "muster/web.py RequestLog.__call__": "the request's line in the log says how it ended",
    "muster/embedded/server.py Server.start": "nothing is left running or locked",
    "muster/embedded/postgres.py Postgres._make_cluster": "half of a cluster is removed",
}
"""Where any error may be caught to do one thing, and is raised again."""

ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
INSTALLED = {"__pycache__", "node_modules"}
NAMESPACES = {"SESSIONS", "CACHE", "QUEUE"}
KEYLESS = {"aclose", "client_list", "config_get", "info", "ping", "register_script", "scan_iter"}
"""What is asked of Redis without naming a key."""


@dataclass(frozen=True)
class Source:
    """A text of the repository; `path` is relative to it."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


Rule = Callable[[Source], Iterator[str]]
"""Gives what breaks it, each with its place."""


def under(*folders: str, suffix: str) -> list[Source]:
    return [
        Source(str(path.relative_to(ROOT)), path.read_text("utf-8"))
        for folder in folders
        for path in sorted((ROOT / folder).rglob(f"*{suffix}"))
    ]


def everything() -> list[Source]:
    """Every text of the repository but what is installed, built or generated, and this one, which names
    what it forbids.
    """
    found = []
    for entry in sorted(ROOT.iterdir()):
        if entry.name.startswith(".") and entry.name not in {".ci", ".gitignore"}:
            continue
        for path in sorted(entry.rglob("*")) if entry.is_dir() else [entry]:
            if path.is_dir() or INSTALLED & {*path.parts} or path.suffix in {".png", ".lock"}:
                continue
            if path == Path(__file__):
                continue
            found.append(Source(str(path.relative_to(ROOT)), path.read_text("utf-8")))
    return found


def places(source: Source, breaks: Callable[[ast.AST], bool]) -> Iterator[str]:
    """Where in a module of ours a node breaks a rule."""
    lines = source.text.splitlines()
    for node in ast.walk(source.tree):
        if breaks(node):
            number = getattr(node, "lineno", 1)
            yield f"{source.path}:{number}: {lines[number - 1].strip()}"


def only_the_database_commits(source: Source) -> Iterator[str]:
    if not source.path.endswith("platform/database.py"):
        yield from places(source, commits_by_itself)


def commits_by_itself(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(attr="commit") | ast.Import(names=[ast.alias(name="psycopg" | "psycopg_pool")]):
            return True
        case ast.Attribute(attr="transaction", value=ast.Name(id=owner) | ast.Attribute(attr=owner)):
            return owner not in {"database", "_database"}
        case ast.ImportFrom(module="psycopg" | "psycopg_pool", names=names):
            return {alias.name for alias in names} != {"sql"}
        case ast.Constant(value=str(text)):
            return bool(re.match(r"\s*(BEGIN|COMMIT|ROLLBACK|START TRANSACTION)\b", text))
    return False


def only_settings_reads_the_environment(source: Source) -> Iterator[str]:
    if not source.path.endswith("muster/settings.py"):
        yield from places(source, reads_the_environment)


def reads_the_environment(node: ast.AST) -> bool:
    match node:
        case ast.Attribute(value=ast.Name(id="os"), attr=name):
            return name in ENVIRONMENT
        case ast.ImportFrom(module="os", names=names):
            return not ENVIRONMENT.isdisjoint(alias.name for alias in names)
        case ast.Call(func=ast.Name(id="Env" | "FileAwareEnv" | "load_dotenv")):
            return True
    return False


def every_redis_key_has_a_namespace(source: Source) -> Iterator[str]:
    yield from places(source, lambda node: not all(map(is_key, keys_named(node))))
    yield from places(source, is_without_our_prefix)


def keys_named(node: ast.AST) -> list[ast.expr | None]:
    """What stands where a key of Redis does."""
    match node:
        case ast.FunctionDef(name=name) if name.endswith("_key") and name != "_key":
            return [each.value for each in ast.walk(node) if isinstance(each, ast.Return)]
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="_redis" | "redis"), attr=command)):
            return [] if command in KEYLESS else [next(iter(node.args), None)]
        case ast.keyword(arg="keys", value=ast.List(elts=keys)):
            return [*keys]
        case ast.keyword(arg="keys", value=other):
            return [other]
    return []


def is_key(node: ast.expr | None) -> bool:
    """A call of a `…_key` function, a text that begins with a namespace, or the empty key of nobody."""
    match node:
        case (
            ast.BinOp(left=first, op=ast.Add()) | ast.JoinedStr(values=[ast.FormattedValue(value=first), *_])
        ):
            return is_key(first)
        case ast.Starred(value=value) | ast.ListComp(elt=value) | ast.GeneratorExp(elt=value):
            return is_key(value)
        case ast.IfExp(body=one, orelse=other):
            return is_key(one) and is_key(other)
        case ast.Call(func=ast.Name(id=maker)):
            return maker.endswith("_key")
        case ast.Name(id=name):
            return name in NAMESPACES
    return isinstance(node, ast.Constant) and node.value == ""


def is_without_our_prefix(node: ast.AST) -> bool:
    """Options for BullMQ without `PREFIX`, or a script that spells a key out."""
    match node:
        case ast.Dict(keys=keys, values=values):
            options = dict(zip(named(keys), values, strict=True))
            prefix = options.get("prefix")
            return "connection" in options and not (isinstance(prefix, ast.Name) and prefix.id == "PREFIX")
        case ast.Constant(value=str(lua)):
            return bool(re.search(r"redis\.call\('\w+',\s*'", lua))
    return False


def named(keys: list[ast.expr | None]) -> list[object]:
    return [key.value if isinstance(key, ast.Constant) else None for key in keys]


def no_test_patches_our_own_code(source: Source) -> Iterator[str]:
    ours = set(imported_from("muster", source.tree))
    yield from places(source, is_of_mock)
    yield from places(source, lambda node: any(root_of(target) in ours for target in changed(node)))


def is_of_mock(node: ast.AST) -> bool:
    match node:
        case ast.Import(names=names):
            return any("mock" in alias.name for alias in names)
        case ast.ImportFrom(module=str(module), names=names):
            return "mock" in module or any("mock" in alias.name for alias in names)
        case ast.arg(arg="mocker") | ast.Attribute(attr="setattr" | "delattr" | "setitem" | "delitem"):
            return True
    return False


def changed(node: ast.AST) -> list[ast.expr]:
    """What a statement sets or deletes inside something else."""
    match node:
        case ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[target, *_]):
            return [target]
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            return [target for target in targets if not isinstance(target, ast.Name)]
    return []


def imported_from(package: str, tree: ast.Module) -> Iterator[str]:
    """The names under which a module knows anything of `package`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    if alias.name.split(".")[0] == package:
                        yield alias.asname or package
            case ast.ImportFrom(module=str(module), names=names) if module.split(".")[0] == package:
                yield from (alias.asname or alias.name for alias in names)


def root_of(node: ast.expr) -> str | None:
    """`a` of `a.b.c[0]`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


class Page(HTMLParser):
    """A template's tags; `{{ … }}` is kept as its bare words, everything else of Jinja's is left out."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str], int]] = []
        text = re.sub(r"\{#.*?#\}|\{%.*?%\}", same_lines, source.text, flags=re.DOTALL)
        self.feed(re.sub(r"\{\{(.*?)\}\}", lambda found: re.sub(r"[^\w. ]", "", found[1]).strip(), text))

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}, self.getpos()[0]))

    @override
    def handle_endtag(self, tag: str) -> None:
        self.tags.append((f"/{tag}", {}, self.getpos()[0]))


def same_lines(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def no_template_has_inline_style_or_script(source: Source) -> Iterator[str]:
    for tag, attributes, line in Page(source).tags:
        wrong = [name for name in attributes if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and attributes.get("nonce") != "page.nonce"):
            wrong.append(tag)
        if attributes.get("href", "").startswith("javascript:"):
            wrong.append("href")
        yield from (f"{source.path}:{line}: {name}" for name in wrong)


def every_posted_form_carries_the_token(source: Source) -> Iterator[str]:
    open_at: int | None = None
    for tag, attributes, line in Page(source).tags:
        if tag == "form":
            open_at = line if attributes.get("method", "get").lower() != "get" else None
        if tag == "input" and attributes.get("name") == "csrf" and attributes.get("value") == "page.csrf":
            open_at = None
        if tag == "/form" and open_at is not None:
            yield f"{source.path}:{open_at}: a form that is posted without the token"
            open_at = None


def no_file_names_a_machine(source: Source) -> Iterator[str]:
    yield from found_in(source, r"(?<![\w.$}])(?:/(?:home|Users|root|work)/|[A-Z]:\\Users)")


def nothing_is_left_to_do(source: Source) -> Iterator[str]:
    yield from found_in(source, r"\b(?:TODO|FIXME|XXX|HACK)\b")


def found_in(source: Source, pattern: str) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if re.search(pattern, line):
            yield f"{source.path}:{number}: {line.strip()[:100]}"


def python() -> list[Source]:
    return under("src/muster", suffix=".py")


def all_python() -> list[Source]:
    return under("src", suffix=".py")


def our_tests() -> list[Source]:
    return under("tests", suffix=".py")


def templates() -> list[Source]:
    return under("src/muster/templates", suffix=".html")


RULES: list[tuple[Rule, Callable[[], list[Source]], list[str]]] = [
    (
        only_the_database_commits,
        python,
        [
            "await connection.commit()",
            "async with connection.transaction(): ...",
            "async with self._pool.transaction(): ...",
            "import psycopg",
            "from psycopg import AsyncConnection, sql",
            "tx.execute('COMMIT')",
        ],
    ),
    (
        only_settings_reads_the_environment,
        all_python,
        ["os.environ['PORT']", "os.getenv('PORT')", "from os import environ", "env = FileAwareEnv()"],
    ),
    (
        every_redis_key_has_a_namespace,
        python,
        [
            "await self._redis.set('people', 1)",
            "await self._redis.delete(f'{name}:{SESSIONS}')",
            "await self._redis.flushdb()",
            "await script(keys=['people'])",
            "await script(keys=[name for name in names])",
            "await self._redis.delete(*names)",
            "def people_key(): return 'people'",
            "BullQueue('people', {'connection': client})",
            "BullQueue('people', {'connection': client, 'prefix': 'bull'})",
            """LUA = "redis.call('GET', 'people')" """,
        ],
    ),
    (
        no_test_patches_our_own_code,
        our_tests,
        [
            "from unittest import mock",
            "from unittest.mock import patch",
            "import unittest.mock",
            "def test_x(mocker): ...",
            "def test_x(monkeypatch): monkeypatch.setattr('muster.web.serve', None)",
            "from muster.people import sync\nsync.LOST_AFTER = 0",
            "import muster.web as web\nweb.STATUSES['x'] = 1",
            "from muster import web\nsetattr(web, 'serve', None)",
        ],
    ),
    (
        no_template_has_inline_style_or_script,
        templates,
        [
            '<p style="color: {{ colour }}">',
            "<button onclick='go()'>",
            "<style>p { margin: 0 }</style>",
            "<script>go()</script>",
            '<a href="javascript:go()">',
        ],
    ),
    (
        every_posted_form_carries_the_token,
        templates,
        [
            '<form method="post" action="/x"><button>Go</button></form>',
            '<form method="post"><input name="csrf" value="none"></form>',
            '<form method="POST">{# <input name="csrf" value="{{ page.csrf }}"> #}</form>',
        ],
    ),
    (
        no_file_names_a_machine,
        everything,
        [f"open('/{folder}/ada/x')" for folder in ("home", "Users", "root")],
    ),
    (nothing_is_left_to_do, everything, ["# TODO: later", "FIXME"]),
]

BREACHES = [(rule, breach) for rule, _, breaches in RULES for breach in breaches]


def title(value: object) -> str:
    return getattr(value, "__name__", None) or str(value).replace("\n", "; ")


@pytest.mark.parametrize(("rule", "sources"), [(rule, sources) for rule, sources, _ in RULES], ids=title)
def test_the_house_keeps_the_rule(rule: Rule, sources: Callable[[], list[Source]]):
    found = sources()

    assert found
    assert [breach for source in found for breach in rule(source)] == []


@pytest.mark.parametrize(("rule", "breach"), BREACHES, ids=title)
def test_the_rule_notices_a_breach(rule: Rule, breach: str):
    assert list(rule(Source("src/muster/somewhere.py", breach)))


def broad_handlers(source: Source) -> Iterator[tuple[str, ast.AST]]:
    """`except Exception` and broader, each with the function it is in."""

    def visit(node: ast.AST, inside: tuple[str, ...]) -> Iterator[tuple[str, ast.AST]]:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inside = (*inside, node.name)
        if catches_anything(node):
            yield f"{source.path.removeprefix('src/')} {'.'.join(inside)}", node
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(source.tree, ())


def catches_anything(node: ast.AST) -> bool:
    match node:
        case ast.ExceptHandler(type=caught):
            return is_broad(caught)
        case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=several):
            return any(is_broad(one) for one in several)
    return False


def is_broad(caught: ast.expr | None) -> bool:
    match caught:
        case None | ast.Name(id="Exception" | "BaseException"):
            return True
        case ast.Tuple(elts=several):
            return any(is_broad(one) for one in several)
    return False


def test_any_error_is_caught_only_where_it_is_written_down():
    found = {where for source in all_python() for where, _ in broad_handlers(source)}

    assert found == EDGES.keys() | WAYSIDES.keys()


def test_what_is_caught_by_the_wayside_is_raised_again():
    for source in all_python():
        for where, handler in broad_handlers(source):
            if where in WAYSIDES:
                assert isinstance(handler, ast.ExceptHandler), where
                assert isinstance(handler.body[-1], ast.Raise), where


@pytest.mark.parametrize(
    "catching",
    [
        "try: ...\n    except Exception: ...",
        "try: ...\n    except: ...",
        "try: ...\n    except (OSError, BaseException): ...",
        "with contextlib.suppress(Exception): ...",
    ],
)
def test_a_broad_handler_is_noticed_wherever_it_is(catching: str):
    source = Source("src/muster/x.py", f"class A:\n  def b(self):\n    {catching}")

    assert [where for where, _ in broad_handlers(source)] == ["muster/x.py A.b"]


PASSING = {
    "muster/platform/cache_probes.py": "canaries, each with a tag of its own that its probe busts",
    "muster/dashboard/probes.py": "the same",
    "muster/crm/edit_writing.py": "names what it busts, and caches nothing",
    "muster/platform/cache.py": "hands on what it is given",
    "muster/dashboard/metrics.py": "a metric's tags stand where the metric is declared",
}
"""Where tags are handed on that no constant names."""


def tags_of(source: Source, wanted: Callable[[ast.AST], Iterator[ast.expr]]) -> Iterator[tuple[str, str]]:
    """The values of tags, each with its place; "" for what only a running program knows."""
    module = source.path.removeprefix("src/").removesuffix(".py").replace("/", ".")
    for node in ast.walk(source.tree):
        for expression in wanted(node):
            where = f"{source.path.removeprefix('src/')}:{expression.lineno}: {ast.unparse(expression)}"
            known = vars(importlib.import_module(module)) if source.path.startswith("src/muster/") else {}
            try:
                for kind in Kind:
                    scope = {**known, "kind": kind, "scope": SimpleNamespace(kind=kind)}
                    for tag in eval(ast.unparse(expression), scope):  # noqa: S307  our own constants
                        yield str(tag), where
            except NameError:
                yield "", where


def given(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.keyword(arg="tags", value=ast.List() | ast.Tuple() as value):
            yield value
        case ast.Assign(targets=[ast.Name(id="tags")], value=value):
            yield value


def announced(node: ast.AST) -> Iterator[ast.expr]:
    match node:
        case ast.Call(func=ast.Attribute(attr="announce"), args=[_, *tags]):
            for tag in tags:
                inner = tag.value if isinstance(tag, ast.Starred) else tag
                yield inner if isinstance(tag, ast.Starred) else ast.copy_location(ast.List([inner]), inner)


def test_whatever_is_cached_under_a_tag_is_busted_by_somebody():
    busted = {tag for source in python() for tag, _ in tags_of(source, announced)}
    cached = [(tag, where) for source in python() for tag, where in tags_of(source, given)]

    assert {"people", "crm:owners", "crm:deals"} <= {tag for tag, _ in cached}
    assert [where for tag, where in cached if tag and tag not in busted] == []
    assert {where.split(":")[0] for tag, where in cached if not tag} <= PASSING.keys()


def test_the_namespaces_are_the_three_that_were_promised():
    assert redis.PREFIXES == ("sess:", "cache:", "queue:")
    assert (redis.SESSIONS, redis.CACHE, redis.QUEUE) == redis.PREFIXES
    assert f"{queue.PREFIX}:" == redis.QUEUE


@pytest.fixture
async def routes() -> tuple[Route, ...]:
    """The table of all routes; nothing is connected for it."""
    settings = Settings(
        secret_key=Secret("k" * 32),
        database_url=Secret("postgresql://127.0.0.1:1/none"),
        redis_url=Secret("redis://127.0.0.1:1"),
        allowed_domains=("acme.test",),
        google_client_id="id",
        google_client_secret=Secret("secret"),
    )
    made = make(settings, application="muster-test")
    await made.http.aclose()
    await made.queues.close()
    await made.desk.close()
    await made.redis.aclose()
    return made.routes


async def test_who_may_call_a_route_is_a_permission_or_anyone_by_name(routes: tuple[Route, ...]):
    assert all(isinstance(route.may, Permission | Anyone) for route in routes)


async def test_the_routes_open_to_anyone_are_those_written_down(routes: tuple[Route, ...]):
    opened = {(route.method, route.path) for route in routes if not isinstance(route.may, Permission)}

    assert opened == OPEN_TO_ANYONE


async def test_a_route_that_skips_the_gate_is_open_to_anyone_anyway(routes: tuple[Route, ...]):
    assert all(route.may is Anyone.MAY for route in routes if route.bare)
