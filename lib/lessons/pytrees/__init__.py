"""Pytrees and keys."""
