"""What a process that starts anew pays for its first result. Run as a script: prints one line of JSON."""

import json
import time

begun = time.perf_counter()

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

after_import = time.perf_counter()


def unrolled(x):
    """Long enough for its compilation to be worth keeping."""
    for _ in range(600):
        x = jnp.sin(x) + x
    return x


def main() -> None:
    """Compiles, runs, and reports milliseconds."""
    hits = []
    jax.monitoring.register_event_listener(
        lambda event, **_: hits.append(event) if event == "/jax/compilation_cache/cache_hits" else None
    )
    x = jax.device_put(jnp.ones(64))
    traced = jax.jit(unrolled).trace(x)
    after_trace = time.perf_counter()
    lowered = traced.lower()
    hits.clear()
    after_lower = time.perf_counter()
    compiled = lowered.compile()
    after_compile = time.perf_counter()
    jax.block_until_ready(compiled(x))
    end = time.perf_counter()
    marks = (begun, after_import, after_trace, after_lower, after_compile, end)
    phases = ("import", "trace", "lower", "compile", "first run")
    took = {phase: 1e3 * (b - a) for phase, a, b in zip(phases, marks[:-1], marks[1:], strict=True)}
    print(json.dumps({"ms": took, "found": bool(hits)}))


if __name__ == "__main__":
    main()
