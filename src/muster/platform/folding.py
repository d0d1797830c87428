"""Text as it is searched and sorted by."""

import unicodedata


def folded(text: str) -> str:
    """Without case and accents, so that "Zoë" is found by "zoe" and sorted beside it."""
    return text.translate(_FOLDS).strip()


class _Folds(dict[int, str]):
    """Character → what it folds to, worked out when it is first met."""

    def __missing__(self, code: int) -> str:
        parts = unicodedata.normalize("NFKD", _UNFOLDABLE.get(chr(code), chr(code)))
        folded = "".join(char for char in parts if not unicodedata.combining(char)).casefold()
        self[code] = folded
        return folded


_UNFOLDABLE = {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "æ": "ae", "Æ": "AE"}
"""Letters that Unicode does not take apart, though people type them plain."""

_FOLDS = _Folds()
