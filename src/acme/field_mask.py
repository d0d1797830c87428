"""The `fields` parameter: `users(id,name/fullName)` as a tree, and what it leaves of a reply."""

import re

from acme.google_error import GoogleError

Mask = dict[str, "Mask"]
"""Name → what is wanted below it; an empty mask wants everything."""

EVERYTHING: Mask = {}
_TOKEN = re.compile(r"[A-Za-z0-9_\-.]+|[*/(),]")


def parse(text: str) -> Mask:
    """Raises GoogleError 400 where the syntax is not Google's."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", ""):
        raise _refused(text)
    mask, rest = _selection(tokens, text)
    if rest:
        raise _refused(text)
    return mask


def _selection(tokens: list[str], text: str) -> tuple[Mask, list[str]]:
    """Reads `a,b/c,d(e)` and gives back what follows it."""
    mask: Mask = {}
    while True:
        tokens = _path(tokens, mask, text)
        if tokens[:1] != [","]:
            return mask, tokens
        tokens = tokens[1:]


def _path(tokens: list[str], mask: Mask, text: str) -> list[str]:
    """Reads `b/c` or `d(e,f)` into the mask."""
    if not tokens or tokens[0] in "/(),":
        raise _refused(text)
    name, rest = tokens[0], tokens[1:]
    wanted_whole = mask.get(name) == EVERYTHING
    below = mask.setdefault(name, {})
    if rest[:1] == ["/"]:
        rest = _path(rest[1:], below, text)
    elif rest[:1] == ["("]:
        inner, rest = _selection(rest[1:], text)
        below |= inner
        if rest[:1] != [")"]:
            raise _refused(text)
        rest = rest[1:]
    else:
        wanted_whole = True
    if wanted_whole:
        mask[name] = {}
    return rest


def below(mask: Mask, name: str) -> Mask | None:
    """What is wanted of `name`: None for nothing."""
    return EVERYTHING if not mask else mask.get(name, mask.get("*"))


def prune(value: object, mask: Mask) -> object:
    """What the mask leaves; lists are pruned item by item."""
    if not mask:
        return value
    if isinstance(value, list):
        return [prune(item, mask) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        name: prune(part, wanted) for name, part in value.items() if (wanted := below(mask, name)) is not None
    }


def refuse_unknown(mask: Mask, known: frozenset[str]) -> None:
    """Google names the first field it does not know."""
    for name in mask:
        if name != "*" and name not in known:
            raise _refused(name)


def _refused(what: str) -> GoogleError:
    return GoogleError(400, "invalidParameter", f"Invalid field selection {what}")
