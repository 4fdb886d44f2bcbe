"""What several test files need: a clock and a queue that obey the test, and small problems with known answers."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lib.live.program import request_program
from lib.routines import problem
from lib.routines.problem import Observed, new_state

train_steps = jax.jit(problem.train_steps, static_argnames="problem")


def eventually(condition: Callable[[], Any], what: str = "the condition", timeout_s: float = 30.0) -> Any:
    """What `condition` returns as soon as it is true; fails when it has not become true in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what} has not come about within {timeout_s:g} s"
        time.sleep(0.002)


def uninterrupted(slices: Generator[None, None, Any]) -> Any:
    """What a generator returns that yields nothing but pauses."""
    while True:
        try:
            assert next(slices) is None
        except StopIteration as end:
            return end.value


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


class ManualExecutor(Executor):
    """Keeps what is submitted until the test takes it, one task after the other, in the test's own thread."""

    def __init__(self) -> None:
        self.tasks: deque[tuple[Future, Callable, tuple]] = deque()
        self.results: list[Any] = []

    def submit(self, fun, /, *args, **kwargs):
        future: Future = Future()
        self.tasks.append((future, fun, args))
        return future

    def take(self) -> Any:
        """Does the oldest task; waits for one if a compilation has to come first."""
        eventually(lambda: self.tasks, "a task")
        future, fun, args = self.tasks.popleft()
        future.set_running_or_notify_cancel()
        try:
            result = fun(*args)
        except Exception as error:
            self.results.append(error)
            future.set_exception(error)
        else:
            self.results.append(result)
            future.set_result(result)  # calls back: the run submits its next chunk before this returns
        return self.results[-1]

    def take_all(self, at_most: int = 1000) -> None:
        """Does tasks until there are none."""
        for _ in range(at_most):
            if not self.tasks:
                return
            self.take()
        raise AssertionError(f"there are still tasks after {at_most}")

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.tasks.clear()


@dataclass(frozen=True)
class Mean:
    """Follows the mean of a batch: `b <- b - learning_rate * (b - mean)`, beside an `a` that halves itself.

    `b` starts at normal numbers and runs away for a learning rate above 2; `a` never does. The loss is the
    greatest of `|b|` before the step, so the parameters overflow one step before the loss would.
    """

    batch_size: int
    size: int = 3
    numbers: np.ndarray | None = field(default=None, compare=False, repr=False)

    @property
    def lineage(self) -> Any:
        return replace(self, batch_size=0)

    def data(self, seed):
        return DATA if self.numbers is None else self.numbers

    def init(self, key, data):
        return new_state({"a": jnp.ones(self.size), "b": jax.random.normal(key, (self.size,))}, key)

    def step(self, state, data, learning_rate):
        rows = (state.step * self.batch_size + jnp.arange(self.batch_size)) % data.shape[0]
        a, b = state.params["a"], state.params["b"]
        params = {"a": 0.5 * a, "b": b - learning_rate * (b - data[rows].mean())}
        return state._replace(params=params, step=state.step + 1), {"loss": jnp.abs(b).max(), "each": b}

    def observe(self, state, data):
        return Observed({"test_loss": jnp.abs(state.params["b"]).max()}, {"b": state.params["b"]})


DATA = np.linspace(-1, 2, 64, dtype=np.float32)


def mean_loop(seed: int, size: int, steps: list[tuple[int, float]], data: np.ndarray = DATA) -> np.ndarray:
    """`Mean` by an explicit loop in NumPy's float32: `b` before each step and, last, after all of them.

    Args:
        steps: for each step its batch size and its learning rate.
    """
    b = np.asarray(jax.random.normal(jax.random.key(seed), (size,)))
    path = [b]
    with np.errstate(over="ignore", invalid="ignore"):
        for step, (batch_size, learning_rate) in enumerate(steps):
            rows = (step * batch_size + np.arange(batch_size)) % len(data)
            b = (b - np.float32(learning_rate) * (b - data[rows].mean(dtype=np.float32))).astype(np.float32)
            path.append(b)
    return np.stack(path)


@dataclass(frozen=True)
class LossBreaks:
    """Counts up by one from 0. The parameters stay finite; the loss `1 / (breaks_at - x)` does not."""

    batch_size: int = 1
    breaks_at: int = 5

    @property
    def lineage(self) -> Any:
        return self

    def data(self, seed):
        return ()

    def init(self, key, data):
        return new_state({"x": jnp.float32(0)}, key)

    def step(self, state, data, learning_rate):
        x = state.params["x"]
        return state._replace(params={"x": x + 1}, step=state.step + 1), {"loss": 1 / (self.breaks_at - x)}

    def observe(self, state, data):
        return Observed({}, {})


def _no(_):
    raise RuntimeError("the step has refused")


@dataclass(frozen=True)
class Refuses:
    """Compiles, and raises when it runs; or, with `early`, raises while it is traced."""

    early: bool = False
    batch_size: int = 1

    @property
    def lineage(self) -> Any:
        return self

    def data(self, seed):
        return ()

    def init(self, key, data):
        return new_state({"x": jnp.float32(0)}, key)

    def step(self, state, data, learning_rate):
        if self.early:
            raise ValueError("`depth` must be positive, got -1")
        x = jax.pure_callback(_no, jax.ShapeDtypeStruct((), jnp.float32), state.params["x"])
        return state._replace(params={"x": x}, step=state.step + 1), {"loss": x}

    def observe(self, state, data):
        return Observed({}, {})


def program_of(engine, problem, data, device):
    """The compiled program of a problem; waits for it."""
    holder: Future = Future()
    request_program(engine, problem, data, device, holder.set_result)
    return holder.result(60).result()
