"""Stacks of transformations, level by level."""
