"""Checks the annotations of a function at each of its calls, with their shapes and dtypes."""

from beartype import BeartypeConf, beartype
from beartype.roar import BeartypeDecorHintPep3119Exception


def checked(fun):
    """The function with its checks; as it is if it takes a `Problem`, which is a protocol for type checkers alone."""
    try:
        return beartype(fun, conf=BeartypeConf(is_pep484_tower=True))  # an int is a float
    except BeartypeDecorHintPep3119Exception:
        return fun
