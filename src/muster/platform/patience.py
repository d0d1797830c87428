"""Waiting for an answer no longer than one means to."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_left_alone: set[asyncio.Task[Any]] = set()


async def answered(question: Coroutine[Any, Any, T], *, within: float) -> T:
    """The answer; raises TimeoutError after `within` seconds, whatever becomes of the question.

    `asyncio.timeout` waits until what it cancels has ended, which behind a frozen PostgreSQL may be never.
    """
    task = asyncio.create_task(question)
    try:
        done, _ = await asyncio.wait({task}, timeout=within)
    finally:
        if not task.done():
            task.cancel()
            _left_alone.add(task)
            task.add_done_callback(_forget)
    if not done:
        raise TimeoutError
    return task.result()


def shared(question: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that several wait for behind `asyncio.shield`, and that may fail when none of them is left."""
    task = asyncio.create_task(question)
    task.add_done_callback(_forget)
    return task


def _forget(task: asyncio.Task[Any]) -> None:
    _left_alone.discard(task)
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio does not complain of it
