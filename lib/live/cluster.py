"""Workers elsewhere: the processes of a Dask cluster, in each of which an actor of this app's own answers (`host`).

Nothing here is used unless `JAX_LIVE_SCHEDULER` names a scheduler. What goes to and fro is pickled: problems by value,
devices by name, data once, chunks and records as they come. A worker that dies takes no run with it: each goes on elsewhere
from its state as it was sent last.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import pickle
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax

from lib.live.devices import devices
from lib.live.engine import MAX_ANSWERS, FutureCache, Wish, default_engine
from lib.live.host import MISSING, Host, device_of, versions
from lib.live.once import once
from lib.live.program import Program
from lib.live.worker import LocalWorker, Opened, Saved, Spec, Worker, WorkerLost, on_device, place
from lib.routines.problem import without_data

VARIABLE = "JAX_LIVE_SCHEDULER"
SAVE_S = 0.7
"""The state of a run is sent along so often: what a worker that dies takes with it is little more than that."""
LOOK_S = 1.0
"""So often the scheduler is asked for its workers, and each of them how it is."""
CONNECT_S = 5.0
JOIN_S = 60.0
REPLICAS = "jax-live-replicas"
"""Where in the scheduler's metadata replicas of the app say what they have."""
HEARD_S = 10.0
"""What a replica says holds for so long after it has last said anything."""
ANSWERING = 8
"""Threads that wait for answers from elsewhere."""
ANY = "any worker"

_log = logging.getLogger(__name__)
_numbers = itertools.count()


@dataclass(frozen=True)
class RemoteDevice:
    """A device of a worker elsewhere. On the way there it becomes the device itself."""

    cluster: Cluster
    worker: str
    name: str
    platform: str
    id: int
    device_kind: str

    def __str__(self) -> str:
        return f"{self.worker} {self.name}"

    def __reduce__(self) -> Any:
        return device_of, (self.name,)

    def place(self) -> tuple[Worker, Any] | None:
        """Its worker; another one if that has gone; None if there is none."""
        worker = self.cluster.workers.get(self.worker)
        return (worker, self) if worker is not None and not worker.gone.done() else self.cluster.least_busy()


@dataclass(frozen=True)
class AnyDevice:
    """Whichever device is least busy when a run begins."""

    cluster: Cluster

    def __str__(self) -> str:
        return ANY

    def place(self) -> tuple[Worker, Any] | None:
        """The worker with the fewest runs, and its first device; None if there is none."""
        return self.cluster.least_busy()


class Ticket:
    """What a worker keeps for this app, until nobody here has the ticket any more.

    Attributes:
        there: of a state, whether its chunk has been handed over.
    """

    def __init__(self, worker: RemoteWorker) -> None:
        self.worker = worker
        self.number = next(_numbers)
        self.there: Future | None = None
        self.saved_at = -SAVE_S

    def fetch(self) -> Future:
        """The state as a `Saved`."""
        return self.worker.call(self.worker.ask("fetch", self.number))

    def __del__(self) -> None:
        self.worker.dropped.append(self.number)


class RemoteWorker:
    """A worker process, and the actor in it that answers this app.

    Attributes:
        runs: how many there are on it, of all apps.
        dropped: tickets that it need not keep any longer.
    """

    ahead = 2  # the way there and back is hidden behind the chunk that is being computed

    def __init__(self, name: str, actor: Any, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.devices: dict[str, RemoteDevice] = {}
        self.runs = 0
        self.dropped: deque[int] = deque()
        self._actor = actor
        self._loop = loop
        self._load = 0
        self.gone: asyncio.Future = loop.create_future()

    def lose(self) -> None:
        """It has gone: whatever it was asked for will not come."""
        if not self.gone.done():
            self.gone.set_result(None)

    def call(self, coroutine: Any) -> Future:
        """Has the client's thread do something."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def ask(self, method: str, *args: Any) -> Any:
        """Asks the actor.

        Raises:
            WorkerLost: there is no answer, and will be none.
        """
        dropped = [self.dropped.popleft() for _ in range(len(self.dropped))]
        request = pickle.dumps(args)
        asked = asyncio.ensure_future(self._ask(method, request, dropped))
        await asyncio.wait({asked, self.gone}, return_when=asyncio.FIRST_COMPLETED)
        if not asked.done() or asked.exception() is not None:
            asked.cancel()
            self.lose()
            raise WorkerLost(f"{self.name} has gone")
        well, reply = asked.result()
        result = pickle.loads(reply)
        if not well:
            raise result
        return result

    async def _ask(self, *args: Any) -> tuple[bool, bytes]:
        return await self._actor.ask(*args)

    def load(self, device: Any) -> int:
        """See `Worker`."""
        return self._load

    def open(self, spec: Spec, wish: Wish | None = None) -> Future:
        """See `Worker`."""
        self.runs += 1  # until it says itself
        return self.call(self._open(spec))

    async def _open(self, spec: Spec) -> Opened:
        ticket = Ticket(self)
        steps, shared = await self._ask_with_data("open", spec, ticket.number)
        return Opened(self, spec, Program(spec.device, None, steps, None), shared, ticket)

    def picture(self, spec: Spec, wish: Wish | None = None) -> Future:
        """See `Worker`."""
        return self.call(self._ask_with_data("picture", spec))

    async def _ask_with_data(self, method: str, spec: Spec, *first: Any) -> Any:
        """Asks about a run; its data are sent if they are not there."""
        request = *first, without_data(spec.problem), spec.device, spec.seed, spec.digest
        reply = await self.ask(method, *request, None)
        return await self.ask(method, *request, spec.data) if isinstance(reply, str) and reply == MISSING else reply

    def advance(
        self, opened: Opened, state: Any, learning_rate: float, num_steps: int, want_picture: bool
    ) -> tuple[Ticket, Future]:
        """See `Worker`."""
        after, now = Ticket(self), time.monotonic()
        # At rest it may stay for long.
        save = not num_steps or now > opened.ticket.saved_at + SAVE_S
        if save:
            opened.ticket.saved_at = now
        request = learning_rate, num_steps, want_picture, save
        after.there = self.call(self._advance(opened.ticket, state, after, request))
        return after, after.there

    async def _advance(self, run: Ticket, state: Any, after: Ticket, request: tuple[Any, ...]) -> Any:
        before: Any = state
        if isinstance(state, Ticket):
            before = state.number if state.worker is self else await asyncio.wrap_future(state.fetch())
        elif state is not None and not isinstance(state, Saved):
            before = Saved.of(state)
        chunk, load = await self.ask("advance", run.number, before, after.number, *request)
        self._load = -(-load // self.ahead)  # each run has so many turns there at a time
        if isinstance(state, Ticket) and state.there is not None and not state.there.done():
            await asyncio.wait({asyncio.wrap_future(state.there)})  # one after the other
        return chunk._replace(state=after)

    def measure(self, measurement: Any) -> Future:
        """See `Worker`."""
        return self.call(self._measure(measurement))

    async def _measure(self, measurement: Any) -> bool:
        first = measurement.ticket is None
        if first:
            measurement.ticket = Ticket(self)
        make = measurement.make if first else None
        records, more = await self.ask("measure", measurement.ticket.number, measurement.device, make)
        measurement.records += records
        return more

    def answer(self, device: Any, fun: Callable[..., Any], *args: Any) -> Any:
        """See `Worker`."""
        return self.call(self.ask("answer", device, fun, args)).result()


class Row(NamedTuple):
    """A worker, for the home page."""

    worker: str
    devices: str
    runs: int


class Cluster:
    """The workers of a scheduler, as they come and go.

    Attributes:
        workers: those that can be asked, by name.
        trouble: a sentence, if there is no scheduler to be had.
        refused: a sentence for each worker that cannot be used.
        answers: as an engine's, of workers elsewhere.
        tell: what this replica of the app tells the others: its address, and whatever they should know.
        told: what the others have told, by address.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.tell: Callable[[], tuple[str, dict[str, Any]]] | None = None
        self.told: dict[str, dict[str, Any]] = {}
        self._heard: dict[str, tuple[int, float]] = {}
        self.workers: dict[str, RemoteWorker] = {}
        self.trouble = f"The scheduler at {address} has not answered yet."
        self.refused: dict[str, str] = {}
        self.answers = FutureCache(ThreadPoolExecutor(ANSWERING, thread_name_prefix="elsewhere").submit, MAX_ANSWERS)
        self._names: dict[str, str] = {}
        self._by_address: dict[str, RemoteWorker] = {}
        self._client: Any = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cluster", daemon=True)
        self._thread.start()

    def devices(self) -> dict[str, Any]:
        """What can be chosen, by name: also before a worker has come, so that a page keeps its choice when one does."""
        there = {str(device): device for worker in self.workers.values() for device in worker.devices.values()}
        return {ANY: AnyDevice(self), **there}

    def rows(self) -> list[Row]:
        """The workers, their devices, and the runs on each."""
        return [Row(worker.name, ", ".join(worker.devices), worker.runs) for worker in list(self.workers.values())]

    def least_busy(self) -> tuple[Worker, Any] | None:
        """The worker with the fewest runs, and its first device; None if there is none."""
        there = [worker for worker in list(self.workers.values()) if not worker.gone.done()]
        worker = min(there, key=lambda worker: worker.runs, default=None)
        return None if worker is None else (worker, next(iter(worker.devices.values())))

    def close(self) -> None:
        """Leaves the cluster."""
        self._closed.set()
        self._thread.join(JOIN_S)

    def _watch(self) -> None:
        """The thread that keeps up with the cluster."""
        while not self._closed.is_set():
            try:
                if self._client is None:
                    self._connect()
                self._client.sync(self._look)
            except ImportError:
                self._give_up(f"{VARIABLE} is set, and `distributed` is missing: `pip install distributed`.")
            except Exception as error:  # whatever it is, the app serves without, and tries again
                _log.debug("No scheduler.", exc_info=error)
                self._give_up(f"The scheduler at {self.address} cannot be reached: this machine computes by itself.")
            self._closed.wait(LOOK_S)
        self._give_up("")

    def _connect(self) -> None:
        from distributed import Client

        self._client = Client(self.address, timeout=CONNECT_S, direct_to_workers=True, set_as_default=True)

    def _give_up(self, trouble: str) -> None:
        if trouble and trouble != self.trouble:
            _log.warning(trouble)
        self.trouble = trouble
        client, self._client = self._client, None
        for worker in self._by_address.values():
            worker.call(self._lose(worker))
        self.workers, self._by_address = {}, {}
        if client is not None:
            client.close(timeout=CONNECT_S)

    @staticmethod
    async def _lose(worker: RemoteWorker) -> None:
        worker.lose()

    async def _look(self) -> None:
        """Takes in who has come, and drops who has gone."""
        identity = await asyncio.wait_for(self._client.scheduler.identity(n_workers=-1), CONNECT_S)
        there = identity["workers"]
        for address, worker in list(self._by_address.items()):
            if address not in there:
                worker.lose()
        new = [address for address in there if address not in self._by_address and address not in self.refused]
        await asyncio.gather(*(self._join(address, there[address].get("name")) for address in new))
        await asyncio.gather(*map(self._ask_how_it_is, list(self._by_address.values())))
        await self._share()
        gone = {address for address, worker in self._by_address.items() if worker.gone.done()}
        self._by_address = {address: worker for address, worker in self._by_address.items() if address not in gone}
        found = {worker.name: worker for worker in self._by_address.values()}
        self.trouble = ""  # before anybody sees them
        self.workers = dict(sorted(found.items()))
        self.refused = {address: why for address, why in self.refused.items() if address in there}

    async def _share(self) -> None:
        """Tells the other replicas, and takes in what they tell."""
        if self.tell is None:
            return
        own, said = self.tell()
        scheduler, now = self._client.scheduler, time.monotonic()
        await scheduler.set_metadata(keys=[REPLICAS, own], value=[next(_numbers), said])
        told = await scheduler.get_metadata(keys=[REPLICAS], default={})
        for address, (number, _) in told.items():
            if self._heard.get(address, (-1, now))[0] != number:
                self._heard[address] = number, now
        self.told = {
            address: said for address, (_, said) in told.items()
            if address != own and now - self._heard[address][1] < HEARD_S
        }  # fmt: skip

    async def _join(self, address: str, name: Any) -> None:
        # An address is no name, and neither is a number.
        if not isinstance(name, str) or "://" in name or name.isdigit():
            name = self._names.setdefault(address, f"worker-{len(self._names) + 1}")
        options = {"actor": True, "workers": [address], "allow_other_workers": False, "pure": False}
        try:
            actor = await asyncio.wait_for(self._client.submit(Host, **options), JOIN_S)
            worker = RemoteWorker(name, actor, asyncio.get_running_loop())
            about = await worker.ask("about")
        except Exception as error:
            told = str(error).splitlines()[0] if str(error).strip() else type(error).__name__
            self._refuse(address, f"{name} is not used: {told}. Start it in the folder of this app, with its packages.")
            return
        own = versions()
        different = [
            f"{what} {about['versions'][what]}, not {own[what]}" for what in own if about["versions"][what] != own[what]
        ]
        if different:
            self._refuse(address, f"{name} is not used: it has {' and '.join(different)}. Give it the app's versions.")
            return
        worker.devices = {made[0]: RemoteDevice(self, name, *made) for made in about["devices"]}
        self._by_address[address] = worker

    def _refuse(self, address: str, sentence: str) -> None:
        _log.warning(sentence)
        self.refused[address] = sentence

    @staticmethod
    async def _ask_how_it_is(worker: RemoteWorker) -> None:
        with suppress(WorkerLost):
            worker.runs = (await worker.ask("about"))["runs"]


@once
def default_cluster() -> Cluster | None:
    """The cluster of this process, if it has one."""
    address = os.environ.get(VARIABLE, "").strip()
    return Cluster(address) if address else None


def all_devices() -> dict[str, Any]:
    """What can be chosen: devices of workers elsewhere, and those of this process."""
    cluster = default_cluster()
    return {**cluster.devices(), **devices()} if cluster else dict(devices())


def answer_of(
    device: Any, fun: Callable[..., Any], *args: Any, among: FutureCache | None = None, wish: Wish | None = None
) -> Future:
    """What a function of a module gives on a device, in NumPy, computed in the background and once for all visitors.

    Args:
        among: the results that it belongs to if it is computed here; `answers` by default.
        wish: see `FutureCache.get`.
    """
    if isinstance(device, jax.Device):
        return (among or default_engine().answers).get((fun, args, device), on_device, device, fun, *args, wish=wish)
    return device.cluster.answers.get((fun, args, device), _answer_elsewhere, device, fun, args)


def _answer_elsewhere(device: Any, fun: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    while True:  # each time with a worker less
        worker, there = place(device, LocalWorker(default_engine()))
        try:
            return worker.answer(there, fun, *args)
        except WorkerLost:
            time.sleep(LOOK_S)
