"""jit(grad(vmap(loss))): linear regression."""
