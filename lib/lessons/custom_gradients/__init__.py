"""Derivatives of one's own."""
