"""What the figures and reasons of a run mean, in the words of whoever has to act on them."""

import msgspec

from muster.people.google_api import SET_UP
from muster.people.runs import SyncRun

_FAULTS = {
    "userRateLimitExceeded": "Too many calls a minute: Google's quota. Each was put off and made again.",
    "rateLimitExceeded": "Too many calls a minute: Google's quota. Each was put off and made again.",
    "quotaExceeded": "The project's quota was used up for a moment. Each was put off and made again.",
    "429": "Too many calls a minute. Each was put off and made again.",
    "backendError": "A passing fault inside Google. The call was made again.",
    "internalError": "A passing fault inside Google. The call was made again.",
    "unknownError": "Google failed without saying why, as listings do now and then. The call was made again.",
    "transientError": "A passing fault inside Google. The call was made again.",
    "failedPrecondition": "Google refused a listing for no lasting reason. The call was made again.",
    "unreachable": "Google did not answer in time, or its line broke. The call was made again.",
    "401": "A token had run out. A new one was fetched.",
    "authError": "A token had run out. A new one was fetched.",
    "500": "A passing fault inside Google. The call was made again.",
    "badGateway": "A gateway on the way to Google failed. The call was made again.",
    "gatewayTimeout": "Google took too long. The call was made again.",
    "502": "A gateway on the way to Google failed. The call was made again.",
    "503": "Google was busy. The call was made again.",
    "504": "Google took too long. The call was made again.",
}

_LOOK_AGAIN = (
    "The next run looks again by itself. If this repeats, `muster doctor` tests the set-up step by step."
)


class Fault(msgspec.Struct, frozen=True):
    """A reason Google gave for failing, how often, and what it means."""

    reason: str
    count: int
    meaning: str


def faults_of(run: SyncRun) -> list[Fault]:
    """The most frequent first."""
    return [
        Fault(
            reason,
            count,
            _FAULTS.get(reason) or SET_UP.get(reason) or "Google's own word; the call was made again.",
        )
        for reason, count in sorted(run.faults.items(), key=lambda one: (-one[1], one[0]))
    ]


def advice_on(run: SyncRun) -> str:
    """What to do about how a run ended; empty where there is nothing to do."""
    reason = run.reason or ""
    if run.status == "failed":
        return _on_failure(run, reason)
    match run.status:
        case "refused":
            return (
                "Google's listing could not be believed, so absence from it counted for nothing and nobody "
                f"was removed. {_LOOK_AGAIN} An administrator named in GOOGLE_ADMIN_EMAIL who sees only part "
                "of the company has this effect."
            )
        case "finished" if reason.startswith("Org units were not read"):
            return "The people are up to date. Delegate the scope admin.directory.orgunit.readonly for units."
        case "finished" if reason:
            return "Those groups are read again by the next run."
    return ""


def _on_failure(run: SyncRun, reason: str) -> str:
    if "worker was lost" in reason or "worker was stopped" in reason:
        return "Nothing to do: the next run goes on where this one broke off. See that a worker is running."
    if any(missing in reason for missing in SET_UP.values()):
        return "The set-up lacks what is named above. Once it is mended, start a sync or wait for the next."
    if "error of Muster's own" in reason:
        return f"Look in the log for `directory_synced` with sync={run.id}: the fault stands just before it."
    return f"What was read is kept. {_LOOK_AGAIN}"


def seconds_left(run: SyncRun) -> float | None:
    """Of a run under way, by the rate it has had so far."""
    if run.status != "running" or not run.expected or not run.rate or run.seen >= run.expected:
        return None
    return (run.expected - run.seen) / run.rate
