"""jit(vmap(f)): one function for a batch."""
