"""The devices one can choose from. Importing this module gives the CPU its simulated devices."""

from __future__ import annotations

import os
from contextlib import suppress

import jax

SIMULATED_CPU_DEVICES = 4
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
"""Processor cores that this process may use."""

# Only before the backend starts; whoever has set the variable has chosen.
if "JAX_NUM_CPU_DEVICES" not in os.environ:
    with suppress(RuntimeError):  # the backend runs already (another library, a notebook): take it as it is
        jax.config.update("jax_num_cpu_devices", SIMULATED_CPU_DEVICES)


def name(device: jax.Device) -> str:
    """`cpu:0`, or `cuda:0 (NVIDIA ...)` where there is more to say."""
    platform = "cuda" if device.platform == "gpu" else device.platform
    kind = "" if device.platform == "cpu" else f" ({device.device_kind})"
    return f"{platform}:{device.id}{kind}"


def devices() -> dict[str, jax.Device]:
    """Every device of every backend, by name: accelerators first, then the CPU's."""
    found = list(jax.devices())
    if found[0].platform != "cpu":
        found += jax.devices("cpu")
    return {name(device): device for device in found}


def check() -> None:
    """Ends the process with a sentence where JAX cannot start: a server that runs on would show an error on every page.

    Raises:
        SystemExit: with what to do.
    """
    try:
        devices()
    except RuntimeError as error:
        chosen = os.environ.get("JAX_PLATFORMS")
        why = str(error).partition("\n")[0]
        if chosen:
            why = f"there is no JAX_PLATFORMS={chosen} here; unset it, or set JAX_PLATFORMS=cpu. ({why})"
        raise SystemExit(f"JAX cannot start: {why}") from None
