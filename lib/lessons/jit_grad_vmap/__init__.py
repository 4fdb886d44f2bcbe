"""jit(grad(mean(vmap(loss)))): linear regression."""
