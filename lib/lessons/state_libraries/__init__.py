"""One network in Flax, Equinox and Haiku."""
