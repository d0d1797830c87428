"""What the figures and reasons of a run mean, in the words of whoever has to act on them."""

import msgspec

from muster.crm.runs import CrmRun

_FAULTS = {
    "TEN_SECONDLY": "Too many calls in ten seconds: HubSpot's limit. The call was made again.",
    "SECONDLY": "Too many searches in a second: HubSpot's limit. The call was made again.",
    "DAILY": "The calls allowed in a day are used up, by this app or another. Nothing is asked until then.",
    "RATE_LIMIT": "Too many calls: HubSpot's limit. The call was made again.",
    "unreachable": "HubSpot did not answer in time, or its line broke. The call was made again.",
    "unreadable": "HubSpot answered what could not be read. The call was made again.",
    "incomplete": "HubSpot answered for a part only. The call was made again.",
    "500": "A passing fault inside HubSpot. The call was made again.",
    "502": "A gateway on the way to HubSpot failed. The call was made again.",
    "503": "HubSpot was busy. The call was made again.",
    "504": "HubSpot took too long. The call was made again.",
}


class Fault(msgspec.Struct, frozen=True):
    """A reason HubSpot gave for failing, how often, and what it means."""

    reason: str
    count: int
    meaning: str


def faults_of(run: CrmRun) -> list[Fault]:
    """The most frequent first."""
    return [
        Fault(reason, count, _FAULTS.get(reason, "HubSpot's own word; the call was made again."))
        for reason, count in sorted(run.faults.items(), key=lambda one: (-one[1], one[0]))
    ]


def advice_on(run: CrmRun) -> str:
    """What to do about how a run ended; empty where there is nothing to do."""
    reason = run.reason or ""
    if run.status == "refused":
        return (
            "HubSpot's listing could not be believed, so absence from it counted for nothing and nothing "
            "was archived. What it showed was carried over. Everything is listed again within the hour."
        )
    if run.status != "failed":
        return ""
    if "worker was lost" in reason or "worker was stopped" in reason:
        return "Nothing to do: a later run goes on where this one broke off. See that a worker is running."
    if "scope" in reason or "HUBSPOT_TOKEN" in reason:
        return "Mend the app's token in HubSpot, then start a sync. `muster doctor` tests it step by step."
    if "error of Muster's own" in reason:
        return f"Look in the log for `customers_synced` with sync={run.id}: the fault stands just before it."
    return "What was read is kept. The next run looks again by itself."


def seconds_left(run: CrmRun) -> float | None:
    """Of a run under way that lists everything, by the rate it has had so far."""
    if run.status != "running" or not run.expected or not run.rate or run.seen >= run.expected:
        return None
    return (run.expected - run.seen) / run.rate
