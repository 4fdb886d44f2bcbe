"""What is seen of a network with two inputs: what each unit gives over the plane, and its weights, a byte each."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8, UInt8

from lib.routines.datasets import GRID
from lib.routines.networks import ACTIVATIONS, Params

UNITS = 8
"""Units of a layer that are drawn, at the most."""
TILE = 7
"""Cells a side of the tile of a unit: with all of them, a frame stays below 10 kB."""


def tile_inputs(grid: Float[Array, "points 2"]) -> Float[Array, "cells 2"]:
    """The centres of the cells of a tile, which covers the same part of the plane as the grid of the surface."""
    cell = (grid[-1] - grid[0]) / (GRID - 1)
    low, side = grid[0] - cell / 2, GRID * cell
    centres = low + (jnp.arange(TILE)[:, None] + 0.5) * side / TILE
    xs, ys = jnp.meshgrid(centres[:, 0], centres[:, 1])
    return jnp.stack([xs.ravel(), ys.ravel()], 1)


def layers(params: Params, x: Float[Array, " features"], activation: str) -> list[Float[Array, " units"]]:
    """The input, and what each hidden layer gives for it."""
    given = [x]
    for layer in params[:-1]:
        given.append(ACTIVATIONS[activation](given[-1] @ layer["w"] + layer["b"]))
    return given


def units_seen(params: Params, grid: Float[Array, "points 2"], activation: str) -> UInt8[Array, " cells"]:
    """What each unit that is drawn gives on its tile, from -1 (0) over 0 (128) to 1 (255); what is beyond is cut off."""
    given = jax.vmap(layers, in_axes=(None, 0, None))(params, tile_inputs(grid), activation)
    shown = jnp.concatenate([layer[:, :UNITS].T.ravel() for layer in given])
    return jnp.round(127.5 + 127.5 * jnp.clip(shown, -1, 1)).astype(jnp.uint8)


def weights_seen(params: Params) -> Int8[Array, " weights"]:
    """The weights between units that are drawn, each as w / (1 + |w|) of 127: large ones have a place too."""
    shown = jnp.concatenate([layer["w"][:UNITS, :UNITS].ravel() for layer in params])
    return jnp.round(127 * shown / (1 + jnp.abs(shown))).astype(jnp.int8)
