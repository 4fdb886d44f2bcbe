"""What the training page trains when nobody has changed a control."""

from __future__ import annotations

from lib.lessons.training import routine as training
from lib.lessons.training.view import DEFAULTS
from lib.routines import datasets, networks

LEARNING_RATE: float = DEFAULTS["learning_rate"]


def default_problem() -> tuple[training.Training, datasets.Dataset]:
    """The problem and its data."""
    chosen = DEFAULTS
    dataset = datasets.load(chosen["data"], 0)
    network = networks.Network(
        dataset.features,
        dataset.outputs,
        chosen["depth"],
        chosen["width"],
        chosen["activation"],
        chosen["initialisation"],
    )
    problem = training.Training(
        network=network, classes=dataset.classes, picture=dataset.picture,
        optimizer=chosen["optimizer"], batch_size=chosen["batch_size"], dataset=dataset,
    )  # fmt: skip
    return problem, dataset
