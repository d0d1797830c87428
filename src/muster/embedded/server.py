"""What PostgreSQL and Valkey have in common as children of Muster: start, stop, kill, and be watched."""

import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from muster.embedded.account import Account
from muster.embedded.child import end_leftovers, launch
from muster.embedded.failures import RefusedToStartError, plain_words, refusal
from muster.embedded.folder import ServerFolder

_START_SECONDS = 120.0  # recovery after a crash replays at most a few hundred megabytes
_STOP_SECONDS = 60.0


class Server(ABC):
    """One server, all of whose files are below `home`; `configuration` is added to, and wins over, ours.

    A server is started from the main thread, because on Linux it ends with the thread that started it.
    It can be started again after it was stopped, was killed or died, and keeps its port and its data.
    """

    title: ClassVar[str]
    folder_name: ClassVar[str]
    process_names: ClassVar[frozenset[str]]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, home: Path, configuration: Mapping[str, str] | None = None) -> None:
        self._folder = ServerFolder(home, self.folder_name)
        self._configuration = dict(configuration or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, password included; known from the first start on, in any process."""

    @property
    def log_path(self) -> Path:
        return self._folder.log

    @property
    def pid(self) -> int | None:
        """The main process of the last start, running or not; None before the first."""
        return self._process.pid if self._process else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """How the last start ended: a status, or minus the signal; None while running or never started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Return once the server takes connections; does nothing while it runs.

        Raises EmbeddedServerError, and then leaves nothing running or locked.
        """
        if self.is_running:
            return
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("an embedded server would end with this thread: start it from the main one")
        try:
            with plain_words(self.title):
                self._start()
        except BaseException:
            self._end_process(signal.SIGKILL)
            self._folder.release()
            raise

    def stop(self) -> None:
        """End the server in good order, and anything it left behind; the folder is free afterwards."""
        self._end_process(self.stop_signal)
        self._folder.release()

    def kill(self) -> None:
        """End the main process as a crash would; the folder stays ours for the next start."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _start(self) -> None:
        account = Account.to_run(self._folder.data)
        self._folder.take(account)
        self._end_leftovers()
        if self._port is None:
            self._port = self._folder.choose_port(account)
        command = self._prepare(account, self._port)
        with self._folder.open_log(account) as log:
            said_before = log.tell()
            self._process = launch(
                command, account=account, folder=self._folder.path, output=log, death_signal=self.stop_signal
            )
        self._folder.write("pid", str(self._process.pid), account)
        self._await_ready(self._process, self._port, said_before)

    @abstractmethod
    def _prepare(self, account: Account, port: int) -> Sequence[str | Path]:
        """Set up what is not there yet; the command that runs the server."""

    @abstractmethod
    def _is_ready(self, pid: int, port: int) -> bool:
        """Whether the server with this process id takes connections."""

    def _await_ready(self, process: subprocess.Popen[bytes], port: int, said_before: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready(process.pid, port):
            if process.poll() is not None:
                said = self.log_path.read_bytes()[said_before:].decode(errors="replace")
                raise refusal(self.title, said, folder=self._folder.path, port=port)
            if time.monotonic() > deadline:
                raise RefusedToStartError(
                    f"{self.title} was not ready in {_START_SECONDS:.0f} s: see {self.log_path}"
                )
            time.sleep(0.02)

    def _end_process(self, number: signal.Signals) -> None:
        if self._process is None or not self._folder.is_taken:
            return
        self._process.send_signal(number)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
        self._end_leftovers()

    def _end_leftovers(self) -> None:
        try:
            main_pid = int((self._folder.path / "pid").read_text())
        except FileNotFoundError:
            main_pid = None
        end_leftovers(self.process_names, self._folder.path, main_pid=main_pid, gently=self.stop_signal)
