"""What one visitor takes from the rest, by what he types and what he opens.

`python tests/benchmarks/visitors.py [texts] [addresses] [files]`: ten who have the heaviest texts computed that are allowed,
beside twenty who watch their runs; each setting of the address with what no widget offers; and files that are no tables.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import re
import sys
import time
import warnings
from collections import Counter
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parents[2]))

import jax
import jax.numpy as jnp
import numpy as np
import sklearn.datasets
from load import Load
from report import Figure, at_least, at_most, percentile, table
from sklearn.neural_network import MLPClassifier, MLPRegressor
from streamlit.testing.v1 import AppTest
from tabs import open_tabs
from websocket_tab import Tab

from lib.lessons.training.routine import Training
from lib.routines.datasets import DataError, Dataset, from_table, read_csv
from lib.routines.networks import Network, batched_forward
from lib.routines.problem import TrainState, train_steps
from lib.ui.frame import page_files
from lib.ui.settings import SETTINGS
from tests.harness import ROOT, Server, serve

WATCHERS, HEAVY = 20, 10
ALONE_S, BESIDE_S, LOOK_S, RUN_S = 20.0, 60.0, 0.05, 4.0
PATIENCE_S = 90.0
"""So long a page with a heavy text may take."""

# Heavy texts. Each visitor has other numbers in them, so that nobody's programs are another's.

SIX = "u + v + w + x + y + z + {0}"
ALL = "argnums=(0, 1, 2, 3, 4, 5)"


def _nested(name: str, times: int) -> str:
    return f"{name}(" * times + SIX + ")" * times


STACKED = [
    ("sum(" + "*".join([f"sin({SIX})"] * 5) + ")", f"vjp(hessian(f, {ALL}))"),
    ("sum(" + _nested("erf", 17) + ")", f"hessian(vjp(hessian(f, {ALL})))"),
    ("prod(" + _nested("tanh", 10) + ")", f"jit(vmap(hessian(jacfwd(f, {ALL}), {ALL})))"),
    ("sum(" + _nested("silu", 17) + ")", f"jit(vmap(hessian(f, {ALL})))"),
    ("sum(" + _nested("cbrt", 17) + ")", "hessian(vjp(vjp(vjp(f))))"),
    ("sum(stack(u, v, w, x, y, z) + stack(z, y, x, w, v, u) * {0})", f"hessian(hessian(f, {ALL}), {ALL})"),
]  # fmt: skip
"""A function of six arguments, and a stack for /composition."""
FORMULAS = [
    "((x + y + {0})**16 * (x - y)**16)**(1 / (1 + x**2)) * sin(x)**8 * exp(x * y)**8",
    "x**x**x**x**y**y + x**y**x**y**x + {0} * sin(cos(sin(cos(sin(cos(x * y))))))",
    "where(where(x**37 + {0} > x**27, x + 1, x**27) > where(x**29 > x + 1, x, 1), where(x + 1 > x**27, x + 1, x**27), 2)",
]
"""Functions of numbers for /jit_grad, with formulas by SymPy."""


def addresses(number: int) -> list[tuple[str, str]]:
    """What a visitor opens, one after the other: page and query."""
    shared = {"batch_size": 4096}
    found = []
    for text, stack in STACKED:
        told = {"lab_function": "type your own", "lab_text": text.format(number), "stack": stack}
        found.append(("composition", urlencode(shared | told | {"composition_panel": "Levels"})))
    for text in FORMULAS:
        told = {"function": "type your own", "typed": text.format(number)}
        found.append(("jit_grad", urlencode(shared | told | {"jit_grad_panel": "Value"})))
    start = number % len(found)
    return found[start:] + found[:start]


async def take(url: str, number: int, opened: list[float]) -> None:
    """A visitor who opens one heavy page after the other, and runs each."""
    for turn in itertools.count():
        for page, query in addresses(number + 1000 * turn):
            begun = time.monotonic()
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(PATIENCE_S), Tab(url, page, query) as tab:
                    opened.append(time.monotonic() - begun)
                    if "Run" in tab.widgets:
                        await tab.press("Run")
                    await asyncio.sleep(RUN_S)


async def ages(tabs: list[Tab], seconds: float) -> tuple[list[float], list[float], float]:
    """Ages of the frames when they come, and of what is on the screens at any time; and how many came a second to the tab
    with the fewest."""
    for tab in tabs:
        tab.ages_s.clear()
    seen: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        await asyncio.sleep(LOOK_S)
        seen += [time.time() - tab.changed_at for tab in tabs]
    return [age for tab in tabs for age in tab.ages_s], seen, min(len(tab.ages_s) for tab in tabs) / seconds


async def measure_texts(server: Server) -> list[Figure]:
    async with AsyncExitStack() as stack:
        tabs = await open_tabs(server.url, WATCHERS, stack, "training_pace=20")
        for tab in tabs:
            await tab.press("Run")
            await tab.until(lambda tab=tab: tab.step > 0)
        alone = await ages(tabs, ALONE_S)
        opened: list[float] = []
        heavy = [asyncio.create_task(take(server.url, number, opened)) for number in range(1, HEAVY + 1)]
        load, memory_mb = Load(server), server.memory_mb()
        beside = await ages(tabs, BESIDE_S)
        load.stop()
        memory_mb = server.memory_mb() - memory_mb
        for task in heavy:
            task.cancel()
        ended = await asyncio.gather(*heavy, return_exceptions=True)
        wrong = [text for tab in tabs for text in tab.exceptions]
        wrong += [repr(end) for end in ended if not isinstance(end, asyncio.CancelledError)]
    figures = []
    for what, before, after in (
        ("a frame when it comes", alone[0], beside[0]),
        ("what is on the screen", alone[1], beside[1]),
    ):
        old, new = percentile(before, 95), percentile(after, 95)
        figures += [
            at_most(f"age of {what}, p95, beside {HEAVY} heavy visitors", new, 1.0, "s"),
            at_most(f"the same / without them ({1e3 * old:.0f} ms)", new / old, 4.0, ""),
            Figure("the same, median and longest", f"{1e3 * percentile(after, 50):.0f} ms; {max(after):.1f} s"),
        ]
    return [
        *figures,
        Figure("frames a second of the slowest: without, beside them", f"{alone[2]:.1f}; {beside[2]:.1f}"),
        Figure("heavy pages opened", f"{len(opened)}, median {percentile(opened, 50):.1f} s, longest {max(opened, default=0):.1f} s"),
        Figure("memory of the server more than before", f"{memory_mb:.0f} MB"),
        *load.figures(),
        Figure("exceptions", f"{len(wrong) + server.errors()}" + (f": {wrong[0]}" if wrong else ""), "0", not wrong and not server.errors()),
    ]  # fmt: skip


def texts() -> list[Figure]:
    """Ten with the heaviest texts beside twenty who watch."""
    with serve() as server:
        figures = asyncio.run(measure_texts(server))
        if server.errors():
            print(server.log()[-3000:], file=sys.stderr)
        return figures


# Addresses.

GARBAGE = [
    "garbage", "nan", "inf", "-inf", "1e999", "1e300", "-1", "-99999999999999999999", "9" * 400, "0x10", "", " ", "\0", "true",
    "None", "<script>alert(1)</script>", "$\\frac{1}{0}$ **b** `c`", "../../etc/passwd", "١٢", "日本語", "\u202eabc", "%00%ff",
    "y" * 100_000, ["1", "2"],
]  # fmt: skip
TOLD = ("markdown", "caption", "info", "error", "warning", "toast", "code", "html")
KINDS = ("selectbox", "select_slider", "text_input", "number_input", "toggle", "button_group")


def _open(file: Path, said: dict[str, Any]) -> AppTest:
    app = AppTest.from_file(str(ROOT / "dashboard.py"), default_timeout=300)
    for key, value in said.items():
        app.query_params[key] = value
    return app.switch_page(f"pages/{file.name}").run()


def _shown(app: AppTest) -> dict[str, Any]:
    """What each setting of the address is on the page."""
    family = re.compile("|".join(re.escape(key).replace(r"\{\}", r"[\w.-]+") for key in SETTINGS))
    widgets = [widget for kind in KINDS for widget in app.get(kind)]
    return {widget.key: widget.value for widget in widgets if widget.key and family.fullmatch(widget.key)}


PER_PAGE = 19
"""So many pieces of garbage, other ones for each page."""


SERVED = 24
"""So many addresses are opened on a server as well."""


async def _serve_garbage(server: Server) -> list[str]:
    """What pages show of exceptions where every setting in the address has the same garbage."""
    wrong = []
    for number in range(SERVED):
        garbage, page = GARBAGE[number % len(GARBAGE)], page_files()[number % len(page_files())].stem[3:]
        keys = [
            key.format(page) for key, setting in SETTINGS.items() if setting.page in ("", page) and key.count("{}") < 2
        ]
        if isinstance(garbage, str) and len(garbage) > 50_000:
            keys = keys[:1]
        query = urlencode(dict.fromkeys(keys, garbage), doseq=True)
        async with Tab(server.url, "" if page == "home" else page, query) as tab:
            wrong += [f"{page}, {str(garbage)[:20]!r}: {text}" for text in tab.exceptions]
    return wrong + ["the server's log has errors"] * server.errors()


def addresses_with_garbage() -> list[Figure]:
    """Each page with one piece of garbage in all its settings at once, under another panel each time."""
    tried, wrong, silent, leaked = 0, [], [], []
    for page, file in enumerate(page_files()):
        panel_key = f"{file.stem[3:]}_panel"
        plain = _open(file, {})
        defaults: dict[str, dict[str, Any]] = {}
        panels = next((group.options for group in plain.get("button_group") if group.key == panel_key), [""])
        for turn in range(PER_PAGE):
            garbage, panel = GARBAGE[(turn + page * PER_PAGE) % len(GARBAGE)], panels[turn % len(panels)]
            kept = {panel_key: panel} if panel else {}
            if panel not in defaults:
                defaults[panel] = _shown(_open(file, kept))
            said = {key: garbage for key in defaults[panel] if key != panel_key}
            if isinstance(garbage, str) and len(garbage) > 50_000:  # Streamlit leaves longer addresses unread
                said = dict(list(said.items())[-4:])
            app = _open(file, kept | said)
            tried += len(said)
            wrong += [f"{file.stem}, {str(garbage)[:20]!r}: {error.message}" for error in app.exception]
            told = [str(getattr(part, "value", "")) for kind in TOLD for part in app.get(kind)]
            leaked += [f"{file.stem}, {panel}" for text in told if str(ROOT) in text or sys.prefix in text]
            silent += [f"{file.stem}, {str(garbage)[:20]!r}" for _ in range(len(said) > 4 and not app.toast)]
    with serve() as server:
        served = asyncio.run(_serve_garbage(server))
    return [
        at_least("settings of the address tried", tried, 2000),
        Figure("exceptions on the page", f"{len(wrong)}" + (f": {wrong[0]}" if wrong else ""), "0", not wrong),
        Figure(
            f"exceptions and errors of a server, {SERVED} addresses",
            f"{len(served)}" + (f": {served[0]}" if served else ""),
            "0",
            not served,
        ),
        Figure(
            "pages that say nothing of it", f"{len(silent)}" + (f": {silent[0]}" if silent else ""), "0", not silent
        ),
        Figure(
            "texts with a path of the server", f"{len(leaked)}" + (f": {leaked[0]}" if leaked else ""), "0", not leaked
        ),
    ]


# Files.

FILES, FILE_S = 300, 2.0
HEADS = [
    "{0},{1},{2}", "\ufeff{0},{1},{2}", "{0};{1};{2}", "{0}\t{1}\t{2}", '"{0}","{1}","{2}"', "{0},{0},{2}", ",,", "{0}",
    "{0},{1},{2}\n{0},{1},{2}", "=1+1,@SUM(A1),{2}", "<b>{0}</b>,$x_1$,`{2}`", "größe,長さ,{2}", '"a\nb","c,d",{2}', "",
]  # fmt: skip
CELLS = [
    "1", "-2.5", "3e5", "0", "inf", "-Infinity", "nan", "NA", "", " ", "1e400", "1e-400", "1,5", "0x1F", "1_000", "１", "true", "cat",
    "dog", '"x\ny"', '"1"', "'", '"', "=cmd|' /C calc'!A0", "<script>", "2024-01-01", "50%", "9" * 30, "9" * 5000, "\x00", "🐈",
]  # fmt: skip
LARGE = [
    b"", b"," * 5 * 2**20, b"\n" * 5 * 2**20, b'"' * 5 * 2**20, b"," * 6 * 2**20, (b"," * 999 + b"\n") * 5000,
    b",".join(b"c%d" % i for i in range(20_000)) + b"\n" + b"1," * 200_000, b"a,b\n" + b"1,2\n" * 1_300_000,
    b"a,b\n" + b"".join(b"%d,%d\n" % (i % 7, i % 3) for i in range(490_000)), b"a,b\n" + b'"1\n",2\n' * 400_000,
    b"a,b\n" + b"".join(b"%d,w%d\n" % (i, i) for i in range(300_000)), bytes(range(256)) * 20_000, b"a,b\n1,2\n",
    b"a,b\n" + b"2024-01-01,1\n" * 300_000, (b"a" * 100_000 + b",b\n") * 50, b"a,b\n" + (b" " * 1000 + b"1,2\n") * 5000,
]  # fmt: skip
ENCODINGS = ["utf-8", "utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "utf-32"]


def _file(rng: random.Random) -> bytes:
    """A table of one kind of cell a column, with a cell or two of any kind, under one of the heads."""
    head = rng.choice(HEADS)
    comma = next((sign for sign in ";\t" if sign in head), ",")
    kinds = [rng.choice(["word", "any", *["{n}", "{f}"] * 4]) for _ in range(3)]

    def cell(kind: str) -> str:
        if kind == "any" or rng.random() < 0.001:
            return rng.choice(CELLS)
        return kind.format(n=rng.randint(0, 3), f=rng.gauss(0, 1)) if "{" in kind else kind

    rows = [comma.join(map(cell, kinds)) for _ in range(rng.choice([0, 1, 4, 50, 50, 400]))]
    text = rng.choice(["\n", "\n", "\r\n", "\r"]).join([head.format("x", "y", "z"), *rows])
    return text.encode(rng.choice(ENCODINGS), errors="replace")


def _trained(dataset: Dataset, steps: int, rate: float = 0.01) -> TrainState:
    """A network as the page trains it, after so many steps."""
    network = Network(dataset.features, dataset.outputs, 2, 8, "tanh")
    problem = Training(network, dataset.classes, dataset.picture, "Adam", 32, dataset)
    start = problem.init(jax.random.key(0), dataset.arrays)
    return TRAIN(replace(problem, dataset=None), start, dataset.arrays, jnp.float32(rate), jnp.int32(steps))[0]


TRAIN = jax.jit(train_steps, static_argnames="problem")


def files() -> list[Figure]:
    """Files that are no tables, and some that are: what comes of each, and how long it takes."""
    rng = random.Random(0)
    contents = LARGE + [_file(rng) for _ in range(FILES - len(LARGE))]
    outcomes, wrong, slowest = Counter[str](), [], 0.0
    for number, content in enumerate(contents):
        begun = time.process_time()
        try:
            frame = read_csv(content)
            dataset = from_table(frame, frame.columns[-1], 0)
            outcome = "taken"
        except DataError as error:
            outcome = "refused"
            if not re.fullmatch(r"[^\n]{15,300}\.", str(error)):
                wrong.append(f"file {number}: {error}")
        except Exception as error:
            outcome = "escaped"
            wrong.append(f"file {number}: {error!r}")
        slowest = max(slowest, time.process_time() - begun)
        outcomes[outcome] += 1
        # Another number of rows is another program to compile: a few of them stand for all.
        if outcome == "taken" and outcomes["taken"] % 8 == 1:
            outcomes["trained"] += 1
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(_trained(dataset, 50).params)):
                wrong.append(f"file {number}: the training does not stay finite")
    return [
        at_least("files tried", len(contents), 300),
        Figure(
            "taken; of these trained on; refused", f"{outcomes['taken']}; {outcomes['trained']}; {outcomes['refused']}"
        ),
        Figure("no sentence and no training", f"{len(wrong)}" + (f": {wrong[0]}" if wrong else ""), "0", not wrong),
        at_most("processor time of the slowest", slowest, FILE_S, "s"),
        *_real_tables(),
    ]


def _real_tables() -> list[Figure]:
    """Tables that people have, written as CSV: the held-out part against scikit-learn's network on the same split."""
    figures = []
    for name in ("iris", "wine", "breast_cancer", "diabetes"):
        bunch = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
        told = bunch.frame
        if name != "diabetes":
            told["target"] = [bunch.target_names[number] for number in bunch.target]
        dataset = from_table(read_csv(told.to_csv(index=False).encode()), "target", 0)
        (inputs, targets), (test, truth) = dataset.train, dataset.test
        epochs = 60
        state = _trained(dataset, epochs * len(inputs) // 32)
        preds = np.asarray(batched_forward(state.params, test, "tanh"))
        kind = MLPClassifier if dataset.classes else MLPRegressor
        rivals = []
        for seed in range(5):
            rival = kind(
                hidden_layer_sizes=(8, 8), activation="tanh", batch_size=32, learning_rate_init=0.01, alpha=0.0, max_iter=epochs, tol=0.0,
                n_iter_no_change=epochs, random_state=seed,
            )  # fmt: skip
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rivals.append(rival.fit(inputs, targets).predict(test))
        if dataset.classes:
            labels = preds.argmax(1) if dataset.classes > 2 else preds[:, 0] > 0
            ours, theirs = np.mean(labels == truth), np.median([np.mean(rival == truth) for rival in rivals])
            figures.append(at_least(f"{name}: accuracy, scikit-learn's being {theirs:.3f}", ours, theirs - 0.03))
        else:
            ours, theirs = np.mean((preds[:, 0] - truth) ** 2), np.median([np.mean((r - truth) ** 2) for r in rivals])
            figures.append(
                at_most(f"{name}: squared error, scikit-learn's being {theirs:.3f}", ours, 1.15 * theirs, "")
            )
    return figures


PARTS = {"texts": texts, "addresses": addresses_with_garbage, "files": files}


def run() -> list[Figure]:
    return [figure for part in PARTS.values() for figure in part()]


if __name__ == "__main__":
    for name in sys.argv[1:] or PARTS:
        print(table(name, PARTS[name]()), flush=True)
