"""`python -m acme --port N --people N --home DIR`: runs the sandbox company until it is told to stop."""

import argparse
import signal
import socket
import sys
from pathlib import Path

import uvicorn

from acme.app import make_app

_HOST = "127.0.0.1"
_FEWEST_PEOPLE, _MOST_PEOPLE = 3, 1_000_000


def main() -> int:
    options = _options()
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, options.port))
        listening.listen(socket.SOMAXCONN)
    except OSError as error:
        sys.stderr.write(f"acme: cannot listen on {_HOST}:{options.port}: {error.strerror}\n")
        return 1
    address = f"http://{_HOST}:{listening.getsockname()[1]}"
    app = make_app(address, options.people, options.seed, options.home)
    config = uvicorn.Config(
        app,
        lifespan="off",
        access_log=False,
        log_level="critical",
        timeout_graceful_shutdown=1,
        loop="uvloop",
        timeout_keep_alive=75,
    )
    # uvicorn raises the signal again once it has stopped; being told to stop is no failure here.
    for told_to_stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(told_to_stop, lambda *_: None)
    # Calls are taken from here on: they wait in the socket for the moment the server needs.
    sys.stdout.write(f"Acme is open at {address}, {options.people:,} people\n")
    sys.stdout.flush()
    uvicorn.Server(config).run([listening])
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="acme", description="The sandbox company, on loopback.")
    parser.add_argument("--port", type=int, default=8099, help="0 takes a free one (default: 8099)")
    parser.add_argument("--people", type=_people, default=500, help="3 to 1,000,000 (default: 500)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is another company (default: 1)")
    parser.add_argument("--home", type=Path, required=True, help="where keys and acme.json are kept")
    return parser.parse_args()


def _people(text: str) -> int:
    if not text.isdecimal() or not _FEWEST_PEOPLE <= int(text) <= _MOST_PEOPLE:
        raise argparse.ArgumentTypeError(f"must be {_FEWEST_PEOPLE} to {_MOST_PEOPLE:,}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
