"""A program for a process of its own: what `print`, `jax.debug.print` and the picture of a sharding look like there."""

import jax
import jax.numpy as jnp


@jax.jit
def step(w, inputs):
    """Says its loss in two ways."""
    loss = ((inputs @ w) ** 2).mean()
    print("print:", loss)
    jax.debug.print("jax.debug.print: {loss:.4f}", loss=loss)
    return w - 0.1 * loss


def main() -> None:
    """Three steps, then an array on four devices."""
    w = jnp.ones(4)
    for _ in range(3):
        w = step(w, jnp.ones((8, 4)))
    jax.effects_barrier()
    mesh = jax.make_mesh((4,), ("batch",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("batch"))
    batch = jax.device_put(jnp.ones((8, 4)), sharding)
    print("jax.debug.visualize_array_sharding:")
    try:
        jax.debug.visualize_array_sharding(batch)
    except ValueError as error:  # the picture is drawn by the package `rich`
        print(error)


if __name__ == "__main__":
    main()
