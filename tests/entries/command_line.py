"""Muster as the processes that a person, or a supervisor, starts."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """Runs `muster …` in an empty folder, with no environment but `settings`."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)

    def __call__(self, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Settings given here win; an empty one counts as not set."""
        return subprocess.run(
            self.command(*words),
            cwd=self.folder,
            env=self.environment(**settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def start(self, *words: str, **settings: str) -> subprocess.Popen[bytes]:
        """A process that runs until it is told to stop; what it says goes to `folder/output`."""
        with (self.folder / "output").open("ab") as output:
            return subprocess.Popen(
                self.command(*words),
                cwd=self.folder,
                env=self.environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return (self.folder / "output").read_text()

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "muster", *words]

    def environment(self, **settings: str) -> dict[str, str]:
        given = {**self.settings, **settings}
        return {"PATH": os.defpath, **{name: value for name, value in given.items() if value}}


async def at_once(muster: CommandLine, *commands: tuple[str, ...]) -> list[subprocess.CompletedProcess[str]]:
    """Run commands side by side, while the town goes on answering."""
    return await asyncio.gather(*(asyncio.to_thread(muster, *words) for words in commands))
