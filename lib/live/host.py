"""What an app asks of a worker elsewhere, in that worker's process.

Every worker process has one engine, as an app has: its queues, its programs, its turns for measurements.
"""

from __future__ import annotations

import asyncio
import pickle
import platform
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jax

from lib.live.devices import devices
from lib.live.engine import default_engine
from lib.live.measurement import Measurement
from lib.live.run import LEASE_S
from lib.live.worker import LocalWorker, Opened, Saved, Spec, on_device

MISSING = "the data are missing"
MAX_DATA = 64


def versions() -> dict[str, str]:
    """What has to be the same on both sides: programs and pickles are of a version."""
    return {"Python": ".".join(platform.python_version_tuple()[:2]), "JAX": jax.__version__}


def own_devices() -> dict[str, jax.Device]:
    """The devices that a worker offers: its CPU's simulated ones are one processor, so that one of them will do."""
    return {name: device for name, device in devices().items() if device.platform != "cpu" or device.id == 0}


def device_of(name: str) -> jax.Device:
    """The device of that name in this process."""
    return devices()[name]


_lately: dict[tuple[int, int], float] = {}
"""When each run here, of all apps, was asked for last."""


class Host:
    """What an app asks of a worker process. A Dask actor."""

    def __init__(self) -> None:
        self._engine = default_engine()
        self._local = LocalWorker(self._engine)
        self._kept: dict[int, Any] = {}
        """By ticket: runs that are open, measurements, and states, each by the chunk that it comes of."""
        self._data: OrderedDict[bytes, Any] = OrderedDict()

    async def ask(self, method: str, request: bytes, dropped: list[int]) -> tuple[bool, bytes]:
        """Does what is asked, and forgets what nobody can ask for any more; whether it went well, and what came of it."""
        for ticket in dropped:
            self._kept.pop(ticket, None)
            _lately.pop((id(self), ticket), None)
        try:
            # What unpickling imports takes long at first. Chunks bring nothing new, and have to be quick.
            args = pickle.loads(request) if method == "advance" else await asyncio.to_thread(pickle.loads, request)
            return True, pickle.dumps(await getattr(self, f"_{method}")(*args))
        except Exception as error:
            return False, _pickled(error)

    async def _about(self) -> dict[str, Any]:
        now = time.monotonic()
        return {
            "versions": versions(),
            "devices": [
                (name, device.platform, device.id, device.device_kind) for name, device in own_devices().items()
            ],
            "runs": sum(now - at <= LEASE_S for at in _lately.values()),
        }

    def _spec(self, problem: Any, device: jax.Device, seed: int, digest: bytes, data: Any) -> Spec | None:
        """What is to be run; None if its data have not been sent yet."""
        if data is not None:
            self._data[digest] = data
            while len(self._data) > MAX_DATA:
                self._data.popitem(last=False)
        if digest not in self._data:
            return None
        self._data.move_to_end(digest)
        return Spec(problem, device, seed, self._data[digest])

    async def _picture(self, *request: Any) -> Any:
        spec = self._spec(*request)
        return MISSING if spec is None else await asyncio.wrap_future(self._local.picture(spec))

    async def _open(self, ticket: int, *request: Any) -> Any:
        spec = self._spec(*request)
        if spec is None:
            return MISSING
        _lately[id(self), ticket] = time.monotonic()
        opened = await asyncio.wrap_future(self._local.open(spec))
        self._kept[ticket] = opened
        steps = opened.program.steps._replace(compiled=None)
        return steps, opened.shared

    async def _advance(
        self, run: int, before: Any, after: int, learning_rate: float, num_steps: int, want_picture: bool, save: bool
    ) -> Any:
        opened: Opened = self._kept[run]
        _lately[id(self), run] = time.monotonic()
        asked = self._chunk(after)
        # Two requests can overtake each other. The chunk before need not be computed yet: this one stands behind it.
        state = await self._chunk(before) if isinstance(before, int) else before
        future = self._local.advance(opened, state, learning_rate, num_steps, want_picture)[1]
        asked.set_result(future)
        chunk = await asyncio.wrap_future(future)
        saved = await asyncio.to_thread(Saved.of, chunk.state) if save else None
        return chunk._replace(state=None, saved=saved), self._local.load(opened.spec.device)

    def _chunk(self, ticket: int) -> asyncio.Future:
        """When it has been asked for, the future of the chunk that a state is of."""
        return self._kept.setdefault(ticket, asyncio.get_running_loop().create_future())

    async def _fetch(self, ticket: int) -> Saved:
        chunk = await asyncio.wrap_future(await self._chunk(ticket))
        return await asyncio.to_thread(Saved.of, chunk.state)

    async def _measure(self, ticket: int, device: jax.Device, make: Callable[[], Any] | None) -> Any:
        if make is not None:
            self._kept[ticket] = Measurement(ticket, "", device, make, 0.0)
        measurement: Measurement = self._kept[ticket]
        there = len(measurement.records)
        more = await asyncio.wrap_future(self._local.measure(measurement))
        # A mapping that cannot be changed cannot be pickled either.
        return [record._replace(more=dict(record.more)) for record in measurement.records[there:]], more

    async def _answer(self, device: jax.Device, fun: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        return await asyncio.wrap_future(self._engine.background(on_device, device, fun, *args))


def _pickled(error: Exception) -> bytes:
    """An error, or its words where it does not survive the way."""
    try:
        told = pickle.dumps(error)
        pickle.loads(told)
    except Exception:
        return pickle.dumps(RuntimeError(str(error).strip() or type(error).__name__))
    return told
