"""Valkey for one machine: sessions, cache and queue of `muster up`."""

import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from muster.embedded.account import Account
from muster.embedded.folder import LOOPBACK
from muster.embedded.programs import valkey_server
from muster.embedded.server import Server

_SETTINGS = {
    "bind": LOOPBACK,
    "protected-mode": "yes",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-use-rdb-preamble": "no",  # valkey-check-aof calls healthy files with one corrupt
    "save": '""',  # the append-only file is the truth; a second copy would only cost writes
    "maxmemory-policy": "noeviction",  # an evicted job is a lost job
    "locale-collate": "C",
}


class Valkey(Server):
    """Valkey, its writes kept in an append-only file that is synced every second.

    `configuration` holds settings as valkey.conf names and writes them.
    """

    title: ClassVar[str] = "Valkey"
    folder_name: ClassVar[str] = "valkey"
    process_names: ClassVar[frozenset[str]] = frozenset({"valkey-server"})
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM

    @property
    @override
    def url(self) -> str:
        return f"redis://default:{self._folder.password()}@{LOOPBACK}:{self._folder.port()}/0"

    @override
    def _prepare(self, account: Account, port: int) -> Sequence[str | Path]:
        data = self._folder.data
        if not data.exists():
            data.mkdir(mode=0o700)
            account.own(data)
        self._folder.set_password(account)
        # The password goes into a file: arguments can be read by everyone on the machine.
        settings = {
            **_SETTINGS,
            "port": str(port),
            "requirepass": self._folder.password(),
            "dir": "data",  # from the folder it is started in: a path needs no quoting then
            **self._configuration,
        }
        text = "".join(f"{name} {value}\n" for name, value in settings.items())
        return [valkey_server(account), self._folder.write("valkey.conf", text, account)]

    @override
    def _is_ready(self, pid: int, port: int) -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._folder.password()}\r\nPING\r\n".encode())
                with connection.makefile("rb") as replies:
                    return replies.readline() == b"+OK\r\n" and replies.readline() == b"+PONG\r\n"
        except OSError:
            return False
