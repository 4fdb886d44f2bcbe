"""Who keeps the processors busy while something is measured."""

from __future__ import annotations

import os
import time

from report import Figure

from tests.harness import Server, busy_s


class Load:
    """The time that processors have worked since this was made: for the server, for its clients, for anything else.

    Attributes:
        elapsed_s: seconds until `stop`.
        server_s, clients_s, others_s: of a processor.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._before = self._now()

    def _now(self) -> tuple[float, float, float, float]:
        return time.perf_counter(), busy_s(), self._server.cpu_s(), time.process_time()

    def stop(self, clients_s: float | None = None) -> None:
        """Ends what is measured.

        Args:
            clients_s: what another process with the clients has used; by default they are in this one.
        """
        self.elapsed_s, all_s, self.server_s, own_s = (
            now - before for now, before in zip(self._now(), self._before, strict=True)
        )
        self.clients_s = own_s if clients_s is None else clients_s
        self.others_s = all_s - self.server_s - own_s - (clients_s or 0.0)

    def figures(self, cores: float = os.cpu_count() or 1, clients: str = "these clients") -> list[Figure]:
        """Rows of the table.

        Args:
            cores: that the server may use.
        """
        return [
            Figure("processors busy with the server", f"{self.server_s / self.elapsed_s:.2f} of {cores:g}"),
            Figure(f"processors busy with {clients}", f"{self.clients_s / self.elapsed_s:.2f}"),
            Figure("processors busy with other work of this machine", f"{self.others_s / self.elapsed_s:.2f}"),
        ]
