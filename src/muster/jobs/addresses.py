"""How a job is named in an address: any client chooses ids, and some would be no part of a path."""

import base64
import binascii
import re

from muster.errors import NotFound

_PLAIN = re.compile(r"[A-Za-z0-9][\w:.@-]{0,199}", re.ASCII)
_TAKEN = frozenset({"failed", "pause", "resumption"})
"""Other things of a queue's that stand where an id would."""

_MARK = "~"


def job_path(queue: str, job_id: str) -> str:
    return f"/jobs/{queue}/{written(job_id)}"


def written(job_id: str) -> str:
    """The id itself where it may stand in a path, otherwise in base64 after a tilde."""
    if _PLAIN.fullmatch(job_id) and job_id not in _TAKEN:
        return job_id
    return _MARK + base64.urlsafe_b64encode(job_id.encode()).rstrip(b"=").decode()


def read(part: str) -> str:
    """Raises NotFound for what no id is written as."""
    if not part.startswith(_MARK):
        return part
    text = part.removeprefix(_MARK)
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, ValueError) as error:
        raise NotFound("There is no such job.") from error
