"""The one door to BullMQ: declare a job, nudge it, run it.

Keys begin with `queue:`, so any BullMQ tool of any language reads and feeds them. A job takes no
input that is the only copy of a fact: it compares what is with what should be, on a schedule and
when nudged, so that a lost nudge costs minutes and a doubled one nothing. What BullMQ's Python
package gets wrong by itself is put right here once (docs/decisions/0004-bullmq.md).
"""

from muster.platform.queue.asking import STATES, Queues
from muster.platform.queue.job import PREFIX, QUEUES, Cron, Job, QueueSpec, Run, Work
from muster.platform.queue.reports import Tell, tell_nobody
from muster.platform.queue.working import LOST_AFTER, Running, Worker

__all__ = [
    "LOST_AFTER",
    "PREFIX",
    "QUEUES",
    "STATES",
    "Cron",
    "Job",
    "QueueSpec",
    "Queues",
    "Run",
    "Running",
    "Tell",
    "Work",
    "Worker",
    "tell_nobody",
]
