"""The code of the lesson, to take away."""

from __future__ import annotations

import jax

from lib.lessons.multi_device import routine as sharding
from lib.lessons.multi_device.routine import EXAMPLES, FEATURES, HIDDEN, Layout
from lib.routines.sgd import sgd
from lib.routines.snippets import source

HOLDER = "Auto: the compiler decides what has to be moved."


def snippet(layout: Layout, batch_size: int, learning_rate: float, platform: str = "cpu") -> str:
    """One training step on a mesh.

    Args:
        platform: of the devices; simulated ones, as many as there are here, if it is the CPU.
    """
    devices = jax.device_count(platform)
    simulated = [
        "# A CPU is one device. Simulate more before JAX is used for the first time:",
        f'jax.config.update("jax_num_cpu_devices", {devices})',
        "",
    ]
    of_platform = "" if platform == jax.default_backend() else f', devices=jax.devices("{platform}")[:{layout.size}]'
    lines = [
        "import jax",
        "import jax.numpy as jnp",
        "import numpy as np",
        "from jax.sharding import AxisType, NamedSharding",
        "from jax.sharding import PartitionSpec as P",
        "",
        *(simulated if platform == "cpu" else []),
        f"# {HOLDER}",
        "auto = (AxisType.Auto, AxisType.Auto)",
        f'mesh = jax.make_mesh({layout.mesh_shape}, ("data", "model"), auto{of_platform})',
        f"batch_at = NamedSharding(mesh, {spec_text(layout.batch_spec)})",
        *_params_at(layout),
        "",
        f"FEATURES, HIDDEN = {FEATURES}, {HIDDEN}",
        "",
        "",
        source(sharding.init_params, sharding.predict, sharding.loss_fn, sgd, sharding.train_step),
        "",
        "",
        f"rng = np.random.default_rng(0)  # the first of {EXAMPLES:,} examples",
        f"inputs = rng.normal(size=({batch_size}, FEATURES)).astype(np.float32)",
        "targets = np.sin(inputs.sum(1))",
        "",
        "inputs, targets = jax.device_put((inputs, targets), batch_at)",
        "params = jax.device_put(init_params(jax.random.key(0)), params_at)",
        f"params, loss = jax.jit(train_step)(params, inputs, targets, {learning_rate!r})",
        'print(f"loss {loss:.4f}")',
        "for piece in inputs.addressable_shards:",
        '    print(f"device {piece.device.id} has inputs of shape {piece.data.shape}")',
    ]
    return "\n".join(lines)


def spec_text(spec: jax.sharding.PartitionSpec) -> str:
    """A `PartitionSpec` as one writes it."""
    return f"P({', '.join(map(_axis_text, spec))})"


def _axis_text(axis: object) -> str:
    if isinstance(axis, tuple) and len(axis) == 1:
        return _axis_text(axis[0])
    return repr(axis).replace("'", '"')


def _params_at(layout: Layout) -> list[str]:
    if layout.hidden_axis is None:
        return ["params_at = NamedSharding(mesh, P())"]
    rows = [f'    "{name}": NamedSharding(mesh, {spec_text(spec)}),' for name, spec in layout.params_spec.items()]
    return ["params_at = {", *rows, "}"]


def line(layout: Layout) -> str:
    """The step as the run compiles it for the mesh, with what is cut and how."""
    data, model = layout.mesh_shape
    return (
        f"jax.jit(train_step)  # mesh {data} × {model}; batch {spec_text(layout.batch_spec)}; "
        f"w1 {spec_text(layout.params_spec['w1'])}"
    )


def examples() -> dict[str, str]:
    """The code for some settings, on the CPU's simulated devices."""
    return {
        "batch over data": snippet(Layout((4, 1)), 32, 0.03),
        "units over model": snippet(Layout((2, 2), ("data",), "model"), 32, 0.03),
        "batch over both, units over data": snippet(Layout((2, 2), ("data", "model"), "data"), 64, 0.1),
    }
