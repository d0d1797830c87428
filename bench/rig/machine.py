"""What a measurement ran on, without which its seconds mean nothing."""

import os
import platform

import msgspec
import psutil


class Machine(msgspec.Struct, kw_only=True):
    cores: int
    memory_bytes: int
    system: str
    python: str
    postgresql: str


def this_machine(*, postgresql: str) -> Machine:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(
        cores=cores,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        postgresql=postgresql,
    )
