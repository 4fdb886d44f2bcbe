"""Live frames as bytes: what a component in the browser draws."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lib.ui import charts
from lib.ui.style import stats_html


class LiveFrame(NamedTuple):
    """What a live run shows at one moment.

    Attributes:
        stats: the row of numbers, by name.
        shown: charts and texts, in their order.
        notes: sentences below them: a message, what was compiled and why.
        hint: what stands in a chart that has no data yet.
    """

    stats: Mapping[str, str]
    shown: Sequence[charts.Shown]
    notes: Sequence[charts.Text]
    hint: str = ""


def encode(frame: LiveFrame) -> bytes:
    """A frame as a JSON header, its length in front as an unsigned 32-bit number, and the columns of its charts.

    The header has `stats`, `notes` and `items`; a chart among the items names its specification by a key, and each
    of its columns by dtype, offset and length into what follows the header (which starts at a multiple of 8 bytes).
    """
    body: list[bytes] = []
    size = 0

    def put(values: np.ndarray) -> list[Any]:
        nonlocal size
        raw = values.tobytes()
        place = [values.dtype.str[1:], size, len(values)]
        padding = -len(raw) % 8
        body.append(raw + b"\0" * padding)
        size += len(raw) + padding
        return place

    def column(values: Any) -> list[Any]:
        if isinstance(values, list) and all(type(value) is str or math.isfinite(value) for value in values):
            return ["json", values, len(values)]
        if isinstance(values, charts.Words):
            return [*put(values.codes), values.words]
        values = np.asarray(values)
        if values.dtype.kind not in "fiu":
            return ["json", values.tolist(), len(values)]
        if values.dtype == np.float64:
            values = values.astype(np.float32)
        return put(values.astype(np.int32) if values.dtype.itemsize == 8 else values)

    items = []
    for item in frame.shown:
        if isinstance(item, charts.Text):
            items.append(item._asdict())
        else:
            data = {
                name: {c: column(values) for c, values in columns.items()} for name, columns in item.columns.items()
            }
            items.append({"spec": spec_key(item.spec), "alt": item.alt, "width": item.width, "data": data})
    header = {
        "stats": stats_html(frame.stats), "items": items, "notes": [note._asdict() for note in frame.notes],
        "hint": frame.hint,
    }  # fmt: skip
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-(len(text) + 4) % 8)
    return len(text).to_bytes(4, "little") + text + b"".join(body)


_keys: dict[int, tuple[charts.Spec, str]] = {}
_specs: dict[str, str] = {}
MAX_SPECS = 1024


def spec_key(spec: charts.Spec) -> str:
    """A short name for a specification, the same for an equal one."""
    known = _keys.get(id(spec))
    if known is not None and known[0] is spec and known[1] in _specs:
        return known[1]
    text = json.dumps(spec, sort_keys=True)
    key = hashlib.blake2b(text.encode(), digest_size=9).hexdigest()
    _keys[id(spec)] = (spec, key)
    _specs[key] = json.dumps({"key": key, "spec": spec})
    while len(_keys) > MAX_SPECS:
        _keys.pop(next(iter(_keys)))
    while len(_specs) > MAX_SPECS:
        _specs.pop(next(iter(_specs)))
    return key


def spec_of(key: str) -> str | None:
    """The message that brings a specification to a browser, as JSON; None if there is none of that key."""
    return _specs.get(key)
