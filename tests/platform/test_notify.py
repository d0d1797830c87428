"""Channels: what is shown of them, what is refused at start, and what they say when they take nothing."""

import asyncio
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muster.errors import SettingsError
from muster.platform.notices import LONGEST_PAUSE, pause_after
from muster.platform.notify import Channels, Letter, NotDelivered, Tone

LETTER = Letter(title="t", body="b", tone=Tone.INFO, key="muster-notice-1", thread="muster-alert-1")
KEY = "k" * 40


def names(*urls: str) -> list[str]:
    return [one.name for one in Channels(urls, key=KEY).all]


def test_only_kinds_that_keep_no_secret_in_it_show_their_host():
    assert names(
        "mailtos://muster:hunter2@smtp.acme.com?to=oncall@acme.com",
        "jsons://hooks.acme.com:8443/T0KEN",
        "slack://T0KENA/T0KENB/T0KENC",
        "pagerduty://INTEGRATION@APIKEY",
    ) == ["mailtos://smtp.acme.com", "jsons://hooks.acme.com:8443", "slack", "pagerduty"]


def test_channels_that_would_be_called_the_same_are_numbered():
    assert names("slack://a/b/c", "json://x/1", "slack://d/e/f") == ["slack #1", "json://x", "slack #2"]


def test_an_id_stays_with_its_address_and_tells_nothing_of_it():
    one, again = Channels(["slack://a/b/c"], key=KEY), Channels(["json://x", "slack://a/b/c"], key=KEY)

    assert one.all[0].id == again.all[1].id
    assert one.all[0].id != Channels(["slack://a/b/c"], key="j" * 40).all[0].id


@pytest.mark.parametrize("url", ["nonsense://hunter2", "slack://hunter2", "mailto://hunter2"])
def test_an_address_that_apprise_does_not_understand_is_refused_by_its_number(url: str):
    with pytest.raises(SettingsError, match="ALERT_URLS holds an address, number 2") as refused:
        Channels(["json://127.0.0.1/x", url], key=KEY).check()

    assert "slack://hunter2" not in str(refused.value)


@pytest.mark.usefixtures("servers")  # with the log as every process of the portal has it
async def test_a_channel_that_is_not_there_says_so_without_its_secrets():
    channels = Channels(["json://muster:hunter2@127.0.0.1:1/T0KENT0KEN"], key=KEY)

    with pytest.raises(NotDelivered, match="Connection error") as why:
        await channels.send(channels.all[0], LETTER)

    assert "hunter2" not in str(why.value)
    assert "T0KEN" not in str(why.value)


async def test_a_channel_that_hangs_is_given_up():
    """By apprise's own time-out, which the address may shorten."""
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"json://127.0.0.1:{mute.getsockname()[1]}/x?cto=0.2&rto=0.2"
        channels = Channels([url], key=KEY)

        with pytest.raises(NotDelivered):
            await asyncio.wait_for(channels.send(channels.all[0], LETTER), 20)


@given(st.integers(1, 10_000))
def test_pauses_grow_to_their_bound(tries: int):
    assert pause_after(tries) <= pause_after(tries + 1) <= LONGEST_PAUSE
