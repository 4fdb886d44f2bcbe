"""One of several processes that train together, each on its part of every batch. Prints a line of JSON at each step.

    python -m lib.lessons.multi_device.worker --coordinator 10.0.0.1:8476 --processes 2 --process 0

The same command on each machine, with its own `--process`; the coordinator is the machine of process 0.

References:
    https://docs.jax.dev/en/latest/multi_process.html
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from typing import Any


def tell(**said: Any) -> None:
    """One line for whoever started this process."""
    print(json.dumps(said), flush=True)


def train(args: argparse.Namespace) -> None:
    """Joins the other processes, then takes the same steps as they do."""
    tell(event="starting")
    import jax  # here: it takes most of a second, and whoever waits should hear of it
    import numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    from lib.lessons.multi_device.routine import batch_at, init_params, train_step, wave_data

    jax.config.update("jax_cpu_collectives_implementation", "gloo")  # CPUs of several processes; others have their own
    jax.distributed.initialize(args.coordinator, args.processes, args.process, initialization_timeout=args.wait)
    tell(event="connected", devices=jax.device_count(), local=jax.local_device_count())

    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    whole, rows = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    data = wave_data(args.seed)

    def place(step: int) -> list[jax.Array]:
        """This process's part of the batch: the rows of its own devices, and no others, go to them."""
        return [
            jax.make_array_from_callback(part.shape, rows, part.__getitem__)
            for part in batch_at(data, step, args.batch_size)
        ]

    tell(event="compiling")
    params = jax.jit(init_params, out_shardings=whole)(jax.random.key(args.seed))
    jitted = jax.jit(train_step, out_shardings=(whole, whole))
    begun = time.monotonic()
    for step in range(args.steps):
        params, loss = jitted(params, *place(step), np.float32(args.learning_rate))
        tell(event="step", step=step + 1, loss=float(loss))
        if args.pace:
            time.sleep(max(0.0, begun + (step + 1) / args.pace - time.monotonic()))
    tell(event="done")


def _end_with_parent() -> None:
    """Ends this process when its standard input is closed, as it is when the process at its other end is gone."""
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="One process of a training across several.")
    parser.add_argument("--coordinator", required=True, help="host:port of process 0")
    parser.add_argument("--processes", type=int, required=True, help="how many there are")
    parser.add_argument("--process", type=int, required=True, help="which one this is, counting from 0")
    parser.add_argument("--batch-size", type=int, default=32, help="examples in one step of all processes together")
    parser.add_argument("--learning-rate", type=float, default=0.03)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--pace", type=float, default=0.0, help="steps a second at the most; 0: no limit")
    parser.add_argument("--wait", type=int, default=60, help="seconds in which all processes must have come")
    parser.add_argument("--end-with-parent", action="store_true", help="end when standard input is closed")
    args = parser.parse_args()
    if args.end_with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    train(args)


if __name__ == "__main__":
    main()
