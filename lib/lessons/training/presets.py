"""Settings of the training page that are known to be good, and known to be bad, with the reason."""

from __future__ import annotations

from typing import Any, NamedTuple


class Preset(NamedTuple):
    """A point in the space of settings.

    Attributes:
        settings: by the names of the page's controls; those that are missing take their defaults.
        expect: what happens, and why.
    """

    good: bool
    settings: dict[str, Any]
    expect: str


SETS = (
    "data",
    "examples",
    "depth",
    "width",
    "activation",
    "initialisation",
    "optimizer",
    "training_pace",
)
"""What a preset sets of the page's own: what it does not name goes back to its default."""
SHARED = ("batch_size", "learning_rate")
"""What a preset sets of the controls that all pages share, in the same way."""
PACE = "20"
"""Steps a second, by default: circles and XOR are learnt within 50 to 100 steps."""

PRESETS: dict[str, Preset] = {
    "seed network on a curve": Preset(
        True,
        {"data": "regression", "depth": 1, "width": 10, "activation": "relu", "learning_rate": 0.01, "training_pace": "100"},
        "One hidden layer of ten ReLU units, Adam at 0.01, a hundred points: the fit is made of straight pieces, "
        "one for each unit that is on.",
    ),
    "two spirals": Preset(
        True,
        {
            "data": "spiral", "depth": 3, "width": 32, "learning_rate": 0.003, "batch_size": 64, "training_pace": "100",
        },
        "Depth and width enough to wind the border around twice; Adam takes a few thousand steps.",
    ),
    "handwritten digits": Preset(
        True,
        {
            "data": "digits", "depth": 1, "width": 64, "activation": "relu", "learning_rate": 0.003, "batch_size": 64,
            "training_pace": "100",
        },
        "64 pixels, 64 units, ten classes: well over nine in ten unseen digits right within seconds.",
    ),
    "learning rate too high": Preset(
        False,
        {
            "data": "regression",
            "depth": 1,
            "width": 32,
            "activation": "relu",
            "optimizer": "SGD",
            "learning_rate": 10.0,
        },
        "Each step overshoots by more than it corrects, so the loss grows until it is no number any more: the run "
        "stops itself and says at which step. A rate of 0.03 learns.",
    ),
    "zero initialisation": Preset(
        False,
        {"data": "XOR", "initialisation": "zeros"},
        "With all weights 0, every unit of a layer is the same and gets the same gradient, here 0: only the last bias "
        "moves, and the loss stays at log 2 = 0.693.",
    ),
    "dead ReLU": Preset(
        False,
        {"data": "circles", "activation": "relu", "initialisation": "negative biases"},
        "A bias of -5 keeps every hidden unit off for every example. An off ReLU has gradient 0, so nothing ever "
        "turns it on. tanh units would recover.",
    ),
    "saturated units": Preset(
        False,
        {
            "data": "moons", "depth": 4, "initialisation": "large", "optimizer": "SGD", "learning_rate": 0.01,
            "training_pace": "100",
        },
        "Weights ten times too large push tanh to its flat ends, where the gradient almost vanishes: learning is slow, "
        "and the border jagged.",
    ),
    "tiny data overfitted": Preset(
        False,
        {"data": "spiral", "examples": "32", "depth": 3, "width": 64, "learning_rate": 0.01, "training_pace": "100"},
        "22 examples for thousands of weights: the training loss goes to 0 while the test loss rises. More data, fewer "
        "weights or an early stop would help.",
    ),
}  # fmt: skip
