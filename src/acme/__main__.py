"""`python -m acme --port N --people N --home DIR`: runs the sandbox company until it is told to stop."""

import signal
import socket
import sys
from datetime import timedelta
from pathlib import Path

import click
import uvicorn

from acme.app import make_app
from acme.hubspot.house import MOST_DEALS
from acme.hubspot.webhooks import is_loopback

_HOST = "127.0.0.1"
_SIZE = click.IntRange(3, 1_000_000)


@click.command(help="The sandbox company, on loopback.")
@click.option("--port", type=int, default=8099, show_default=True, help="0 takes a free one.")
@click.option("--people", type=_SIZE, default=500, show_default=True, help="How many work there.")
@click.option("--seed", type=int, default=1, show_default=True, help="Another seed is another company.")
@click.option(
    "--home", type=click.Path(path_type=Path), required=True, help="Where keys and acme.json are kept."
)
@click.option(
    "--latency",
    type=click.FloatRange(0, 60_000),
    default=0,
    show_default=True,
    envvar="ACME_LATENCY_MS",
    show_envvar=True,
    help="Milliseconds the Directory API takes longer to answer.",
)
@click.option(
    "--deals",
    type=click.IntRange(1, MOST_DEALS),
    default=None,
    envvar="ACME_DEALS",
    show_envvar=True,
    help="How many deals HubSpot has; half as many companies, more contacts. Without: six for five people.",
)
@click.option(
    "--hubspot-limits/--no-hubspot-limits",
    default=True,
    envvar="ACME_HUBSPOT_LIMITS",
    show_envvar=True,
    help="Whether HubSpot counts calls.",
)
@click.option(
    "--hubspot-webhooks",
    metavar="URL",
    default=None,
    envvar="ACME_HUBSPOT_WEBHOOKS",
    show_envvar=True,
    help="Where HubSpot's webhooks go, also after a reset.",
)
def main(
    port: int,
    people: int,
    seed: int,
    home: Path,
    latency: float,
    deals: int | None,
    hubspot_limits: bool,  # noqa: FBT001  click's way of saying on or off
    hubspot_webhooks: str | None,
) -> None:
    if hubspot_webhooks is not None and not is_loopback(hubspot_webhooks):
        sys.stderr.write(f"acme: {hubspot_webhooks} is not an address on loopback\n")
        sys.exit(1)
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((_HOST, port))
        listening.listen(socket.SOMAXCONN)
    except OSError as error:
        sys.stderr.write(f"acme: cannot listen on {_HOST}:{port}: {error.strerror}\n")
        sys.exit(1)
    address = f"http://{_HOST}:{listening.getsockname()[1]}"
    app = make_app(
        address,
        people,
        seed,
        home,
        timedelta(milliseconds=latency),
        deals=deals,
        with_hubspot_limits=hubspot_limits,
        hubspot_webhooks_to=hubspot_webhooks,
    )
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
    sys.stdout.write(f"Acme is open at {address}, {people:,} people\n")
    sys.stdout.flush()
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main()
