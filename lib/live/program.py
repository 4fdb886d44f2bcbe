"""A problem compiled for one device, and the chunk of steps that a run computes with it."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lib.live.engine import Engine, Wish
from lib.measure.compile_log import reasons
from lib.measure.stages import Cost, Phases, compile_in_stages, cost_of, placed
from lib.routines.problem import HostProblem, Observed, Problem, TrainState, check_problem, train_steps, without_data

HOST_STEPS = 256
"""Steps of one chunk of a step on the host, at the most."""


class Steps(NamedTuple):
    """`train_steps` compiled for a problem.

    Attributes:
        compiled: `train_steps` without its problem.
        capacity: steps of one call, at the most.
        leaves: the path of each leaf of the parameters, such as `params[0]['w']`.
        reason: why JAX traced it anew, in its own words; empty if it gives none.
    """

    compiled: Any
    capacity: int
    leaves: tuple[str, ...]
    phases: Phases
    cost: Cost
    reason: str


class Program(NamedTuple):
    """The compiled functions of a problem, on one device.

    Attributes:
        start: `(seed, data) -> TrainState`.
        observe: `(state, data) -> Observed`.
    """

    device: jax.Device
    start: Any
    steps: Steps
    observe: Any


class Chunk(NamedTuple):
    """What came of a call of `compute_chunk`.

    Attributes:
        metrics: each metric of each step, float32[num_steps, ...].
        elapsed_s: the steps alone, without the picture.
        observed: of the new state, or None.
        diverged: what stopped being finite at the step after these, or empty.
        saved: the new state in NumPy, from a worker elsewhere and now and then.
    """

    state: Any
    num_steps: int
    metrics: dict[str, np.ndarray]
    elapsed_s: float
    observed: Observed | None
    diverged: str
    saved: Any = None


def shapes_of(tree: Any) -> tuple:
    """The structure, shapes and dtypes of a tree of arrays, hashable."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, str(leaf.dtype)) for leaf in leaves)


@partial(jax.jit, static_argnames="problem")
def arguments_of_train_steps(problem: Problem, state: Any, data: Any, learning_rate: Any, num_steps: Any) -> Any:
    """Takes what `train_steps` takes, so that JAX can say in what they differ from those before."""
    return num_steps


def _start_of(problem: Problem) -> Any:
    def start(seed: Any, data: Any) -> TrainState:
        return problem.init(jax.random.key(seed), data)

    return start


def _placed_inputs(problem: Problem, data: Any, device: jax.Device) -> tuple[Any, Any, Any]:
    """Seed, data and state as shapes on the device."""
    seed, data = placed((jax.ShapeDtypeStruct((), jnp.uint32), data), device)
    return seed, data, placed(jax.eval_shape(_start_of(problem), seed, data), device)


def _compile_start(problem: Problem, data: Any, device: jax.Device) -> Any:
    seed, data, _ = _placed_inputs(problem, data, device)
    return compile_in_stages(jax.jit(_start_of(problem)), seed, data)[0]


def _compile_observe(problem: Problem, data: Any, device: jax.Device) -> Any:
    if isinstance(problem, HostProblem):
        return problem.observe
    _, data, state = _placed_inputs(problem, data, device)
    return compile_in_stages(jax.jit(problem.observe), state, data)[0]


def _compile_steps(problem: Problem, data: Any, device: jax.Device) -> Steps:
    check_problem(problem, data)
    _, data, state = _placed_inputs(problem, data, device)
    if isinstance(problem, HostProblem):
        return _compile_host_steps(problem, state, device)
    rate, count = placed((jax.ShapeDtypeStruct((), jnp.float32), jax.ShapeDtypeStruct((), jnp.int32)), device)
    with reasons("arguments_of_train_steps") as said:
        arguments_of_train_steps.trace(problem, state, data, rate, count)

    # JAX 0.12 explains no static argument, and would compare with somebody else's unrelated program.
    reason = "\n".join(text for text in said if "Static(val=" in text)

    # `partial` makes a function of its own, because what JAX keeps for a jitted function lives as long as the
    # function: with one for all problems, each program would stay, 6 MB, after the engine has dropped it.
    compiled, phases = compile_in_stages(
        jax.jit(partial(train_steps, problem)), state=state, data=data, learning_rate=rate, num_steps=count
    )
    _, buffers, _ = compiled.out_info
    return Steps(compiled, buffers["loss"].shape[0], _leaves(state), phases, cost_of(compiled), reason)


def _leaves(state: TrainState) -> tuple[str, ...]:
    paths = (path for path, _ in jax.tree_util.tree_leaves_with_path(state.params))
    return tuple("params" + jax.tree_util.keystr(path) for path in paths)


def _compile_host_steps(problem: HostProblem, state: TrainState, device: jax.Device) -> Steps:
    """The parts of a step on the host, and a loop over it that takes and gives what `train_steps` does."""
    parts, step = problem.host_step(device)
    made = {name: compile_in_stages(jitted, *args) for name, (jitted, args) in parts.items()}
    compiled = {name: part for name, (part, _) in made.items()}

    def train_steps_on_host(state: TrainState, data: Any, learning_rate: Any, num_steps: Any) -> Any:
        data, rate = jax.tree.map(np.asarray, data), np.float32(learning_rate)
        rows = []
        for _ in range(int(num_steps)):
            state, metrics = step(compiled, state, data, rate)
            rows.append(metrics)
        buffers = {name: np.array([row[name] for row in rows], np.float32) for name in rows[0]}
        finite = np.array([np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(state.params)])
        return state, buffers, finite

    phases = Phases(*map(sum, zip(*(phases for _, phases in made.values()), strict=True)))
    return Steps(train_steps_on_host, HOST_STEPS, _leaves(state), phases, Cost(None, None, None), "")


def steps_key(problem: Problem, data: Any, device: jax.Device) -> tuple:
    """Under which key the engine keeps the compiled steps of a problem."""
    return "steps", problem, shapes_of(data), device


def request_program(
    engine: Engine, problem: Problem, data: Any, device: jax.Device, done: Callable[[Future], None],
    wish: Wish | None = None,
) -> None:  # fmt: skip
    """Has a problem compiled for the shapes of its data, or finds what somebody had compiled before.

    The parts compile side by side.

    Args:
        done: is called with a future of the `Program`, from any thread.
        wish: see `FutureCache.get`.
    """
    problem = without_data(problem)  # what is kept holds no visitor's data
    steps = engine.programs.get(steps_key(problem, data, device), _compile_steps, problem, data, device, wish=wish)

    def all_there() -> None:
        program: Future = Future()
        try:
            program.set_result(Program(device, start.result(), steps.result(), observe.result()))
        except Exception as error:
            program.set_exception(error)
        done(program)

    start, observe = _request_ends(engine, problem, data, device, wish)
    _when_done((steps, start, observe), all_there)


def request_start_picture(
    engine: Engine, problem: Problem, data: Any, device: jax.Device, seed: int, wish: Wish | None = None
) -> Future:
    """A future of the picture of the state before the first step, by programs that every run of the problem needs.

    Args:
        wish: see `FutureCache.get`.
    """
    picture: Future = Future()
    held = weakref.ref(picture)  # who asks again lets go of it
    start, observe = _request_ends(engine, without_data(problem), data, device, wish)

    def draw() -> Any:
        there = jax.device_put(data, device)
        state = start.result()(jax.device_put(np.uint32(seed), device), there)
        return jax.tree.map(np.asarray, observe.result()(state, there).picture)

    def hand_over(drawn: Future) -> None:
        there = held()
        if there is None:
            return
        if drawn.cancelled() or drawn.exception():
            there.set_exception(drawn.exception() if not drawn.cancelled() else RuntimeError("the engine is closed"))
        else:
            there.set_result(drawn.result())

    def compiled() -> None:
        if held() is not None:
            engine.submit(device, draw).add_done_callback(hand_over)

    _when_done((start, observe), compiled)
    return picture


def _request_ends(
    engine: Engine, problem: Problem, data: Any, device: jax.Device, wish: Wish | None = None
) -> tuple[Future, Future]:
    """The programs before and after the steps, which a problem of the same lineage shares."""
    where = (type(problem), shapes_of(data), device)
    return (
        engine.programs.get(("start", problem.lineage, where), _compile_start, problem, data, device, wish=wish),
        engine.programs.get(("observe", problem.lineage, where), _compile_observe, problem, data, device, wish=wish),
    )


def _when_done(futures: Sequence[Future], call: Callable[[], Any]) -> None:
    """Calls when all are done, from the thread of the last."""
    missing = len(futures)
    lock = threading.Lock()
    calls = [call]

    def one_more(_: Future) -> None:
        nonlocal missing
        with lock:
            missing -= 1
            if missing:
                return
        calls.pop()()  # a future keeps its callbacks, and the engine these futures: not with them whoever has waited

    for future in futures:
        future.add_done_callback(one_more)


def start_state(program: Program, seed: int, data: Any) -> TrainState:
    """The state before the first step."""
    return jax.block_until_ready(program.start(jax.device_put(np.uint32(seed), program.device), data))


def compute_chunk(
    program: Program, state: TrainState, data: Any, learning_rate: float, num_steps: int, want_picture: bool
) -> Chunk:
    """Takes `num_steps` steps, or as many as stay finite. A pure function of its arguments, but for the clock.

    Args:
        num_steps: 0 for the picture alone.
        state: on any device: the run's device may have been changed since.
        data: on the program's device.
    """
    if state.step.devices() != {program.device}:
        state = jax.device_put(state, program.device)
    rate = np.float32(learning_rate)  # a number of NumPy's goes to the device by the call itself, in half the time

    def take(state: TrainState, count: int) -> tuple[TrainState, dict[str, np.ndarray], np.ndarray]:
        state, buffers, finite = program.steps.compiled(
            state=state, data=data, learning_rate=rate, num_steps=np.int32(count)
        )
        metrics = {name: np.asarray(buffer)[:count] for name, buffer in buffers.items()}
        return jax.block_until_ready(state), metrics, np.asarray(finite)

    def good(metrics: dict[str, np.ndarray], finite: np.ndarray) -> bool:
        return bool(finite.all()) and all(np.isfinite(values).all() for values in metrics.values())

    begun = time.perf_counter()
    after, diverged = state, ""
    metrics: dict[str, np.ndarray] = {}
    if num_steps:
        after, metrics, finite = take(state, num_steps)
    if num_steps and not good(metrics, finite):
        after, num_steps, diverged = _last_finite(take, good, program, state, num_steps)
        metrics = {name: values[:num_steps] for name, values in metrics.items()}
    elapsed_s = time.perf_counter() - begun
    observed = jax.tree.map(np.asarray, program.observe(after, data)) if want_picture else None
    return Chunk(after, num_steps, metrics, elapsed_s, observed, diverged)


def _last_finite(
    take: Any, good: Any, program: Program, state: TrainState, num_steps: int
) -> tuple[TrainState, int, str]:
    """Finds the last state that is finite by bisection, and what the next step breaks.

    What is not finite stays so, and the same steps give the same numbers: so the hot loop need not look.
    """
    low, high = 0, num_steps
    while high - low > 1:
        middle = (low + high) // 2
        ahead, metrics, finite = take(state, middle - low)
        if good(metrics, finite):
            state, low = ahead, middle
        else:
            high = middle
    _, _, finite = take(state, 1)
    broken = [leaf for leaf, is_finite in zip(program.steps.leaves, finite, strict=True) if not is_finite]
    return state, low, f"`{broken[0]}`" if broken else "the loss"
