"""The code of the lesson, to take away."""

from __future__ import annotations

import jax

from lib.lessons.multi_device.routine import FEATURES, HIDDEN, Layout, in_turn
from lib.routines.snippets import printed


def snippet(layout: Layout, batch_size: int, learning_rate: float, platform: str = "cpu") -> str:
    """One training step on a mesh, beginning with where the arrays are.

    Args:
        platform: of the devices; simulated ones, as many as there are here, if it is the CPU.
    """
    simulated = f'jax.config.update("jax_num_cpu_devices", {jax.device_count(platform)})  # simulated'
    devices = "" if platform == jax.default_backend() else f', devices=jax.devices("{platform}")[:{layout.size}]'
    w1_spec, w2_spec = (spec_text(layout.params_spec[name]) for name in ("w1", "w2"))
    lines = [
        "import jax",
        "import jax.numpy as jnp",
        "from jax.sharding import AxisType, NamedSharding, PartitionSpec as P",
        "",
        *([simulated] if platform == "cpu" else []),
        "auto = (AxisType.Auto, AxisType.Auto)  # the compiler decides what moves",
        f'mesh = jax.make_mesh({layout.mesh_shape}, ("data", "model"), auto{devices})',
        f"inputs = jnp.linspace(-1, 1, {batch_size * FEATURES}).reshape({batch_size}, {FEATURES})",
        f"w1 = jnp.linspace(-1, 1, {FEATURES * HIDDEN}).reshape({FEATURES}, {HIDDEN})",
        f"inputs = jax.device_put(inputs, NamedSharding(mesh, {spec_text(layout.batch_spec)}))",
        f"w1 = jax.device_put(w1, NamedSharding(mesh, {w1_spec}))",
        f"w2 = jax.device_put(jnp.ones({HIDDEN}) / {HIDDEN}, NamedSharding(mesh, {w2_spec}))",
        'for name, array in {"inputs": inputs, "w1": w1, "w2": w2}.items():',
        '    print(name, array.addressable_shards[0].data.shape, "on each device")',
        "",
        "",
        "def loss_fn(params, inputs):",
        "    w1, w2 = params",
        "    preds = jnp.tanh(inputs @ w1) @ w2",
        "    return jnp.mean((preds - jnp.sin(inputs.sum(1))) ** 2)",
        "",
        "",
        "@jax.jit",
        "def train_step(params, inputs):",
        "    loss, grads = jax.value_and_grad(loss_fn)(params, inputs)",
        f"    return jax.tree.map(lambda p, g: p - {learning_rate!r} * g, params, grads), loss",
        "",
        "",
        "params, loss = train_step((w1, w2), inputs)",
        'print(f"loss {loss:.4f}")',
    ]
    return "\n".join(lines)


def printed_in_turn(code: str) -> str:
    """What a snippet prints. It runs in turn with the live run: both need all devices, and could wait for each other."""
    text: str = in_turn(printed)(code)
    return text


def spec_text(spec: jax.sharding.PartitionSpec) -> str:
    """A `PartitionSpec` as one writes it: without what is not split at its end."""
    axes = list(spec)
    while axes and axes[-1] is None:
        axes.pop()
    return f"P({', '.join(map(_axis_text, axes))})"


def _axis_text(axis: object) -> str:
    if isinstance(axis, tuple) and len(axis) == 1:
        return _axis_text(axis[0])
    return repr(axis).replace("'", '"')


def line(layout: Layout) -> str:
    """The step as the run compiles it for the mesh, with what is split and how."""
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
        "all whole, on fewer devices": snippet(Layout((1, 2), ()), 8, 0.03),
    }
