"""What a page runs or measures, as a script and as a notebook that need nothing of this app.

The code is that of the real functions, written for the settings by `Specialiser`. Of what is run here, a problem or an
argument may say more:

    written(): values that stand at the top of no module, each with a name and its code, or a function to take instead.

Of what is measured, an experiment may have one attribute more, a function of its arguments without the device:

    taken_home(*args): an experiment, its arguments, and values with their names and code, to be written instead.
"""

from __future__ import annotations

import inspect
import json
import platform
import re
import subprocess
import textwrap
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

import jax
from ruff.__main__ import find_ruff_bin

from lib.measure.timing import Rows, in_turns
from lib.routines.problem import HostProblem, Problem
from lib.routines.specialise import Specialiser

NUM_STEPS = 300
"""Steps of a run that is taken home."""
WIDTH = 120
NAMES = ("losses", "metrics", "state", "data", "device", "args", "steps", "low", "median", "high")
"""What the code around it calls things."""
PACKAGES = {"flax": "flax", "equinox": "equinox", "haiku": "dm-haiku", "sklearn": "scikit-learn"}
"""What to install for an import of another name, or of a part."""


class Page(NamedTuple):
    """What a page says of itself.

    Attributes:
        address: the link that restores it, with its settings.
        task: what it shows; `idea` and `notice`: Markdown.
        settings: in words.
    """

    title: str
    address: str = ""
    task: str = ""
    idea: str = ""
    notice: str = ""
    settings: str = ""


class Section(NamedTuple):
    """A part of a script.

    Attributes:
        title: empty for the first, which has the imports and the settings.
        notebook: its code in the notebook, where that is another one.
    """

    title: str
    code: str
    notebook: str | None = None


class TakenHome(NamedTuple):
    """Code to take home.

    Attributes:
        what: in a few words, for the head of the file.
        requirements: packages.
    """

    page: Page
    what: str
    sections: tuple[Section, ...]
    requirements: tuple[str, ...]

    def script(self) -> str:
        """A file of Python, formatted."""
        parts = [f'"""{self._head()}\n"""']
        for title, code, _ in self.sections:
            parts.append(f"# {title}\n\n\n{code}" if title else code)
        return formatted("\n\n\n".join(parts))

    def notebook(self) -> str:
        """A notebook of format 4.5, as JSON, with the page's text between its cells."""
        page = self.page
        made = f"Made with {_versions()} for {page.settings}." if page.settings else f"Made with {_versions()}."
        head = [f"# {page.title}", page.task, page.idea, f"{self.what} {made}"]
        if page.address:
            head.append(f"[The page with these settings]({_safe(page.address)})")
        head.append(f"```sh\npip install {' '.join(self.requirements)} altair\n```")
        cells = [("markdown", "\n\n".join(filter(None, head)))]
        for title, code, notebook in self.sections:
            if title:
                cells.append(("markdown", f"## {title}"))
            cells.append(("code", formatted(code if notebook is None else notebook).rstrip("\n")))
        if page.notice:
            cells.append(("markdown", f"## What to notice\n\n{page.notice.strip()}"))
        return json.dumps(
            {
                "cells": [_cell(kind, text, f"cell-{number}") for number, (kind, text) in enumerate(cells)],
                "metadata": {
                    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
                    "language_info": {"name": "python"},
                },
                "nbformat": 4,
                "nbformat_minor": 5,
            },
            indent=1,
            ensure_ascii=False,
        )

    def _head(self) -> str:
        page = self.page
        lines = [page.title.rstrip("."), "", *textwrap.wrap(self.what, WIDTH), ""]
        if page.address:
            lines += ["The page with these settings:", f"    {_safe(page.address)}", ""]
        if page.settings:
            lines += textwrap.wrap(f"Settings: {page.settings}.", WIDTH)
        lines += [f"Made with {_versions()}.", f"Needs: pip install {' '.join(self.requirements)}"]
        return "\n".join(lines).replace("\\", "/").replace('"', "'")


def _cell(kind: str, text: str, name: str) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _versions() -> str:
    return f"Python {platform.python_version()} and JAX {jax.__version__}"


def _safe(address: str) -> str:
    """An address that ends no string and no link, whatever a visitor has typed into it."""
    return quote(address, safe=":/?&=%+,.-_~")


@lru_cache(maxsize=128)
def formatted(code: str) -> str:
    """Code in the layout of the formatter."""
    options = ["--line-length", str(WIDTH), "--isolated", "--stdin-filename", "code.py", "-"]
    done = subprocess.run(
        [find_ruff_bin(), "format", *options], input=code, capture_output=True, text=True, encoding="utf-8", check=True
    )
    return done.stdout


# A live run.


def take_run(
    problem: Problem, seed: int, learning_rate: float, page: Page, device: jax.Device, timings: bool = True
) -> TakenHome:
    """The run of a problem from its start.

    Args:
        timings: whether the script measures a step.

    Raises:
        CannotWriteError: something of the problem has no form as code.
    """
    made = Specialiser(_given(problem), NAMES)
    made.constant("LEARNING_RATE", repr(learning_rate))
    made.constant("SEED", repr(seed))
    made.constant("NUM_STEPS", repr(NUM_STEPS))
    sections = []

    def section(title: str, fun: Callable[..., Any], name: str) -> str:
        before = len(made.parts)
        taken = made.function(fun, name)
        sections.append(Section(title, "\n\n\n".join(made.parts[before:])))
        return f"{taken.name}({', '.join({'seed': 'SEED', 'key': 'jax.random.key(SEED)'}.get(p, p) for p in taken.params)})"

    data = section("The data.", problem.data, "make_data")
    start = section("The start.", problem.init, "init_state")
    if isinstance(problem, HostProblem):
        section("A step.", problem.host_step, "host_step")
        sections.append(_run_on_host(data, start, device))
    else:
        section("A step.", problem.step, "step")
        sections.append(_run(data, start))
        if timings:
            before = len(made.parts)
            taken = made.function(in_turns, "in_turns")
            sections.append(_timings("\n\n\n".join(made.parts[before:]), taken.name))
    what = f"The run of the page: these are its first {NUM_STEPS} steps, from the same start."
    return _whole(made, page, what, sections, _chosen(device, isinstance(problem, HostProblem)))


def _chosen(device: jax.Device, several: bool = False) -> str:
    """A line that chooses the device, if it is not of the kind that JAX takes by itself."""
    if device.platform == "cpu" and several:
        return f'jax.config.update("jax_num_cpu_devices", {jax.device_count("cpu")})'
    return (
        f'jax.config.update("jax_platforms", "{device.platform}")' if device.platform != jax.default_backend() else ""
    )


def _device(device: jax.Device) -> str:
    return f'jax.devices("{device.platform}")[{jax.devices(device.platform).index(device)}]'


def _given(problem: Any) -> list[tuple[Any, str, Any]]:
    return list(problem.written()) if hasattr(problem, "written") else []


def _start(data: str, start: str) -> str:
    key = start.replace("jax.random.key(SEED)", "key")
    inputs = [name for name in ("key", "data") if re.search(rf"\b{name}\b", key)]
    values = ", ".join("jax.random.key(SEED)" if name == "key" else name for name in inputs)
    name = key.partition("(")[0]
    return f"data = jax.device_put({data})\nstate = jax.jit({name})({values})"


def _run(data: str, start: str) -> Section:
    # The loop of `problem.train_steps`: that of `scan`, whose length is known, may differ in the last bit.
    code = f"""\
@jax.jit
def train(state, data, learning_rate, num_steps):
    \"\"\"So many steps in one compiled loop, and what each reports.\"\"\"
    _, reported = jax.eval_shape(step, state, data, learning_rate)
    rows = jax.tree.map(lambda leaf: jnp.zeros((NUM_STEPS, *leaf.shape), leaf.dtype), reported)

    def body(i, carry):
        state, rows = carry
        state, metrics = step(state, data, learning_rate)
        return state, jax.tree.map(lambda rows, row: rows.at[i].set(row), rows, metrics)

    return jax.lax.fori_loop(0, num_steps, body, (state, rows))


{_start(data, start)}
_, metrics = train(state, data, jnp.float32(LEARNING_RATE), NUM_STEPS)
losses = jax.device_get(metrics["loss"])
"""
    return Section("The run.", code + TABLE, code + CHART)


TABLE = """\
for number in range(0, NUM_STEPS, NUM_STEPS // 20):
    print(f"step {number + 1:4}  loss {losses[number]:.6g}")
"""
CHART = """\
records = [{"step": number, "loss": float(loss)} for number, loss in enumerate(losses, 1)]
alt.Chart(alt.Data(values=records)).mark_line().encode(x="step:Q", y="loss:Q")
"""


def _run_on_host(data: str, start: str, device: jax.Device) -> Section:
    code = f"""\
data = {data}
state = jax.jit({start.partition("(")[0]})({"jax.random.key(SEED)" if "key" in start else ""}{", data" if "data" in start else ""})
parts, take_step = host_step({_device(device)})
compiled = {{name: jitted.lower(*shapes).compile() for name, (jitted, shapes) in parts.items()}}
losses = []
for _ in range(NUM_STEPS):
    state, metrics = take_step(compiled, state, data, np.float32(LEARNING_RATE))
    losses.append(float(metrics["loss"]))
"""
    return Section("The run.", code + TABLE, code + CHART)


def _timings(functions: str, name: str) -> Section:
    return Section(
        "How long a step takes: warm, in turns, and each is waited for.",
        f"""{functions}


compiled = jax.jit(step)
args = state, data, jnp.float32(LEARNING_RATE)
calls = {{
    "jit(step)": lambda: compiled(*args),
    "dispatch alone": lambda: compiled(*args),
    "step, eager": lambda: step(*args),
}}
for name, timing in {name}(calls, unblocked=("dispatch alone",)).items():
    low, median, high = 1e6 * timing.low, 1e6 * timing.median, 1e6 * timing.high
    print(f"{{name:14}}  {{median:.4g}} µs  ({{low:.4g}} to {{high:.4g}})")
""",
    )


# A measurement.


def take_measurement(
    experiment: Callable[..., Rows], args: Sequence[Any], page: Page, device: jax.Device, sweep: bool
) -> TakenHome:
    """A measurement, to be taken anew.

    Args:
        experiment: what is called with the device and `args`.
        sweep: whether its records have sizes.

    Raises:
        CannotWriteError: something of it has no form as code.
    """
    given: list[tuple[Any, str, Any]] = []
    if hasattr(experiment, "taken_home"):
        experiment, args, given = experiment.taken_home(*args)
    for arg in args:
        given += _given(arg)
    made = Specialiser(given, NAMES, "PAUSE")
    params = list(inspect.signature(experiment).parameters)
    taken = made.function(experiment, "measure", **dict(zip(params[1:], args, strict=False)))
    run = f"""\
records = []
for record in measure({"device" if "device" in taken.params else ""}):
    records.append(record)
    print(f"{{record.label:40}}  {{record.phase:10}}  {SIZE if sweep else ""}{{record.median_ms:10.4g}} ms  ({{record.low_ms:.4g}} to {{record.high_ms:.4g}})")
"""
    if "device" in taken.params:
        run = f"device = {_device(device)}\n{run}"
    sections = [
        Section("What is measured.", "\n\n\n".join(made.parts)),
        Section(
            "Each record is the median of its samples, and their quartiles.", run, run + (LINES if sweep else BARS)
        ),
    ]
    several = device.id > 0 or any("jax.devices(" in part for part in made.parts)
    return _whole(made, page, "The measurement of the page, to be taken anew.", sections, _chosen(device, several))


SIZE = "{record.size:8,}  "
BARS = """\
rows = [{"label": record.label, "phase": record.phase, "milliseconds": record.median_ms} for record in records]
alt.Chart(alt.Data(values=rows)).mark_bar().encode(x="milliseconds:Q", y=alt.Y("label:N", sort=None), color="phase:N")
"""
LINES = """\
rows = [{"label": record.label, "size": record.size, "milliseconds": record.median_ms} for record in records]
x, y = alt.X("size:Q").scale(type="log"), alt.Y("milliseconds:Q").scale(type="log")
alt.Chart(alt.Data(values=rows)).mark_line(point=True).encode(x=x, y=y, color="label:N")
"""


# The parts of a script.


def _whole(made: Specialiser, page: Page, what: str, sections: Sequence[Section], device: str = "") -> TakenHome:
    lines: dict[bool, list[str]] = {True: [], False: []}
    for name, code in made.constants.items():
        note = _note(made.notes.get(name, ""))
        lines[name in made.settings] += [*([f"# {note}"] if note else []), f"{name} = {code}"]
    constants = "\n\n".join("\n".join(group) for group in lines.values() if group)
    code = "\n".join(section.code for section in sections) + constants
    code = re.sub(r'""".*?"""', "", code, flags=re.DOTALL)
    known = {"jax": ("jax", ""), "jnp": ("jax.numpy", "")} | made.imports
    used = {name: where for name, where in known.items() if re.search(rf"\b{name}\b", code)}
    for name, where in (("np", ("numpy", "")), ("time", ("time", ""))):
        if re.search(rf"\b{name}\.", code):
            used[name] = where
    head = "\n\n".join(filter(None, [imports(used), device, constants]))
    with_charts = "\n\n".join(filter(None, [imports({**used, "alt": ("altair", "")}), device, constants]))
    requirements = dict.fromkeys(["jax", "numpy", *sorted(_packages(code, used))])
    return TakenHome(page, what, (Section("", head, with_charts), *sections), tuple(requirements))


def _note(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) < WIDTH - 2 else ""


def _packages(code: str, used: dict[str, tuple[str, str]]) -> set[str]:
    roots = {where.partition(".")[0] for where, _ in used.values()}
    roots |= {root for root in re.findall(r"^\s+from (\w+)", code, re.MULTILINE)}
    return {PACKAGES.get(root, root) for root in roots if root not in _STANDARD}


_STANDARD = frozenset(__import__("sys").stdlib_module_names)


def imports(used: dict[str, tuple[str, str]]) -> str:
    """Statements that import names, in the usual order."""
    groups = []
    for standard in (True, False):
        whole, parts = [], {}  # type: ignore[var-annotated]
        for bound, (where, what) in used.items():
            if (where.partition(".")[0] in _STANDARD) is not standard:
                continue
            if what:
                parts.setdefault(where, []).append(what if what == bound else f"{what} as {bound}")
            else:
                whole.append(f"import {where}" if where == bound else f"import {where} as {bound}")
        lines = sorted(whole, key=str.casefold)
        for where in sorted(parts, key=str.casefold):
            names = sorted(parts[where], key=_rank)
            together = ", ".join(name for name in names if " as " not in name)
            lines += [f"from {where} import {name}" for name in names if " as " in name]
            lines += [f"from {where} import {together}"] if together else []
        if lines:
            groups.append("\n".join(lines))
    return "\n\n".join(groups)


def _rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, name)
