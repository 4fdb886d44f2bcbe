"""Custom derivatives."""
