"""Branches and loops in the program."""
