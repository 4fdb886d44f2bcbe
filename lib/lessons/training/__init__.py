"""A network, trained live."""
