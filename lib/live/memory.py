"""Whether memory is short. Who takes more than the system grants is ended by it, and with the server all visitors' runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

NEARLY = 0.9
"""Of what this process may take. What is left is for what goes on: a compilation takes a hundred megabytes for a moment."""
SHORT = "The server's memory is nearly full, so nothing new begins, and what runs goes on; press again in a minute."


def short() -> bool:
    """Whether so much of the memory is taken that nothing new should begin. Takes a fraction of a millisecond."""
    return any(used > NEARLY * limit for used, limit in _granted())


def _granted() -> Iterator[tuple[int, int]]:
    """Bytes that are taken, and how many may be, for each limit that this process is under; nothing where none is told."""
    root = Path("/sys/fs/cgroup")
    for folder, used, limit, cached in (
        (root, "memory.current", "memory.max", "inactive_file"),
        (root / "memory", "memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"),
    ):
        with suppress(OSError, ValueError, KeyError):  # the limit may be "max"
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # Files that were read stay in memory while nobody needs it: they are no reason to refuse anything.
            taken = int((folder / used).read_text()) - int(stat[cached])
            yield taken, int((folder / limit).read_text())
    with suppress(ImportError, OSError, KeyError):
        import resource  # not on Windows

        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        for kind, name in ((resource.RLIMIT_DATA, "VmData"), (resource.RLIMIT_AS, "VmSize")):
            limit_bytes = resource.getrlimit(kind)[0]
            if limit_bytes != resource.RLIM_INFINITY:
                yield 1024 * int(status[name].split()[0]), limit_bytes
