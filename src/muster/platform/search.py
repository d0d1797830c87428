"""What a search for words is in SQL."""

from psycopg import sql

from muster.platform.folding import folded

LONGEST_SEARCH = 100


def containing(words: str) -> sql.Composable:
    """SQL: `search_text` holds each of `words`, whole or as a part.

    They stand in the statement itself: a plan that PostgreSQL keeps for any word reads through all of the
    trigram index for one of two letters, which takes five times as long as the plan for that very word.
    """
    parts = [
        sql.SQL("search_text LIKE {}").format(pattern(f"%{literally(word)}%"))
        for word in folded(words[:LONGEST_SEARCH]).split()
    ]
    return sql.SQL(" AND ").join([sql.SQL("true"), *parts])


def pattern(like: str) -> sql.Literal:
    """`like` written out in a statement that has parameters besides, in which a per cent sign is doubled."""
    return sql.Literal(like.replace("%", "%%"))


def literally(text: str) -> str:
    """`text` with LIKE's own signs taken as letters."""
    for sign in ("\\", "%", "_"):
        text = text.replace(sign, f"\\{sign}")
    return text
