"""Replicas of the app behind a load balancer: which of them has a room. They tell each other through the scheduler.

Nothing here is used unless there is a scheduler. The others reach a replica at the address from which it reaches that.
"""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from lib.live.cluster import Cluster, default_cluster
from lib.live.room import Rooms, default_rooms

LATER_S = 2.0
"""A room that two replicas have is where its lecturer was heard of so much later: what they tell is a second old."""


class Replicas:
    """The other replicas, as this one knows them.

    Args:
        own: the address of this one for the others.
    """

    def __init__(self, cluster: Cluster, rooms: Rooms, own: str) -> None:
        self._cluster, self._rooms = cluster, rooms
        rooms.taken = lambda code: any(code in said for said in cluster.told.values())
        cluster.tell = lambda: (own, {code: rooms.away_s(code) for code in rooms.codes()})

    def owner(self, code: str) -> str | None:
        """The address of the replica at which a lecturer is; None if that is this one, or nobody knows of him."""
        away = {address: said[code] for address, said in self._cluster.told.items() if code in said}
        if not away:
            return None
        best = min(away, key=away.__getitem__)
        here = self._rooms.away_s(code)
        return best if here is None or away[best] + LATER_S < here else None

    def teaching(self) -> list[str]:
        """The addresses of those that have a room."""
        return [address for address, said in self._cluster.told.items() if said]


_default: Replicas | None = None


def join(scheme: str, port: int, path: str) -> None:
    """This process serves the app there, and may be one of several."""
    global _default
    cluster = default_cluster()
    if cluster is not None:
        _default = Replicas(cluster, default_rooms(), f"{scheme}://{_host(cluster.address)}:{port}{path}")


def default_replicas() -> Replicas | None:
    """The replicas of this process, if it may be one of several."""
    return _default


def _host(scheduler: str) -> str:
    """The address of this machine in the network of the scheduler. No packet is sent for it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((urlsplit(scheduler).hostname or "127.0.0.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
