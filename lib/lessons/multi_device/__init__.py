"""Sharding over many devices, and processes that train together."""
