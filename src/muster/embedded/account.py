"""The account a server runs under: our own or, when we are root, one without privileges."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from muster.embedded.failures import EmbeddedServerError

ROOT = 0
# initdb looks its account up by number, so only accounts with a name will do.
_UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    name: str
    uid: int
    gid: int

    @classmethod
    def to_run(cls, existing: Path) -> Self:
        """Who should run the server whose files are, or will be, in `existing`.

        PostgreSQL refuses to run as root, and a server that listens should not. As root, the owner of
        files from an earlier run keeps them, so that one folder serves `sudo` and an ordinary user alike.
        """
        if os.geteuid() != ROOT:
            return cls(_name_of(os.geteuid()), os.geteuid(), os.getegid())
        if existing.exists() and (owner := existing.stat()).st_uid != ROOT:
            return cls(_name_of(owner.st_uid), owner.st_uid, owner.st_gid)
        for name in _UNPRIVILEGED:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(name, entry.pw_uid, entry.pw_gid)
        raise EmbeddedServerError("PostgreSQL does not run as root: start Muster as an ordinary user")

    def may_enter(self, path: Path) -> bool:
        """Whether this account can reach and enter a folder, or reach and run a program."""
        if os.geteuid() != ROOT:
            return os.access(path, os.X_OK)
        # Asked as that account: access lists and mount options decide too, not the mode bits alone.
        probe = subprocess.run(
            ["/bin/sh", "-c", 'test -x "$0"', path],
            check=False,
            cwd="/",
            user=self.uid,
            group=self.gid,
            extra_groups=[],
        )
        return probe.returncode == 0

    def own(self, path: Path) -> None:
        """Give `path` to this account; only root can give, and for anyone else it is theirs already."""
        if os.geteuid() == ROOT:
            os.chown(path, self.uid, self.gid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
