"""jit(grad(f)): one gradient, and descent along it."""
