"""What is taken home: it runs outside of the repository, and gives the numbers of the page to the last bit."""

import json
import subprocess
import sys

import jax
import nbformat
import numpy as np
import pytest
from conftest import ROOT

from lib.lessons.compilation import measure as compilation
from lib.lessons.composition import routine as composition
from lib.lessons.composition.measure import stack_times
from lib.lessons.composition.transforms import parse
from lib.lessons.control_flow import measure as control_flow
from lib.lessons.control_flow.recurrent import Recurrent
from lib.lessons.custom_gradients import measure as custom_gradients
from lib.lessons.custom_gradients.pair_training import PairTraining
from lib.lessons.custom_gradients.routine import PAIRS
from lib.lessons.debugging.measure import tool_costs
from lib.lessons.debugging.routine import Watched
from lib.lessons.jit_grad.functions import TypedScalarFunction
from lib.lessons.jit_grad.measure import gradient_phases
from lib.lessons.jit_grad.routine import Descent
from lib.lessons.jit_grad_vmap.measure import gradient_ways
from lib.lessons.jit_grad_vmap.routine import LinearRegression
from lib.lessons.jit_vmap.measure import batching_sweep
from lib.lessons.jit_vmap.routine import Ensemble, TypedBatchFunction
from lib.lessons.multi_device import measure as multi_device
from lib.lessons.multi_device.many_devices import ManyDevices
from lib.lessons.multi_device.routine import Layout
from lib.lessons.pytrees.measure import update_sweep
from lib.lessons.pytrees.random_keys import Dropout
from lib.lessons.pytrees.routine import TreeTraining
from lib.lessons.state_libraries.measure import library_costs
from lib.lessons.state_libraries.routine import Libraries
from lib.lessons.training.measure import train_step_phases
from lib.lessons.training.routine import Training
from lib.live.devices import devices
from lib.live.program import Program, _compile_start, _compile_steps, compute_chunk, start_state
from lib.measure import timing
from lib.measure.export import Page, take_measurement, take_run
from lib.measure.timing import records_of
from lib.routines import datasets
from lib.routines.networks import Network
from lib.routines.problem import without_data

CPU = devices()["cpu:0"]
SEED, RATE, STEPS = 3, 0.03, 100
CSV = "length,width,kind\n" + "".join(f"{i},{i * i % 7},{'ab'[i % 2]}\n" for i in range(40))
PAGE = Page(
    "A page: with a title", 'http://host/training?typed=x"""\\y&batch_size=8', "Press **Run**.", "An idea.", "- Look.",
)  # fmt: skip


def training(name, seed=SEED, optimizer="Adam", network=None, examples=None, batch_size=16):
    dataset = datasets.load(name, seed, examples)
    network = network or Network(dataset.features, dataset.outputs, 1, 8)
    return Training(network, dataset.classes, dataset.picture, optimizer, batch_size, dataset)


def own_csv():
    dataset = datasets.from_table(datasets.read_csv(CSV.encode()), "kind", SEED, "flowers.csv")
    return Training(Network(2, 1, 1, 4), dataset.classes, dataset.picture, "momentum", 8, dataset)


def descent(stack, function, batch_size):
    example = function if isinstance(function, composition.ExampleFunction) else composition.FUNCTIONS[function]
    return composition.StackDescent(example, composition.gradient_of(example, parse(stack), batch_size), batch_size)


TYPED = TypedScalarFunction("a * cos(x) + (y - sin(x))**2", ("x", "y"), (-5.0, 5.0))
LOGS = composition.typed_function("sum(x**2 * log(x))", ((3,),), (), True)
sigmoid, overflow, *_, fixed_point = PAIRS
RUNS = {
    "jit_grad one variable": Descent("squared difference", 8, (3.0,)),
    "jit_grad two variables": Descent("elliptic bowl", 32, ()),
    "jit_grad typed": Descent(TYPED, 4, (2.0,)),
    "jit_vmap": Ensemble(8),
    "jit_vmap own targets": Ensemble(4, own_targets=True),
    "jit_vmap own rates": Ensemble(32, own_rates=True),
    "jit_grad_vmap mean": LinearRegression(32),
    "jit_grad_vmap sum": LinearRegression(1, "sum"),
    "jit_grad_vmap large": LinearRegression(1024),
    "training circles": training("circles"),
    "training moons": training("moons", optimizer="SGD", network=Network(2, 1, 2, 4, "relu", "negative biases"), examples=64),
    "training digits": training("digits", network=Network(64, 10, 0, 8, "gelu", "large")),
    "training own data": own_csv(),
    "composition mean": descent("jit(grad(mean(vmap(f))))", "Rosenbrock", 8),
    "composition per example": descent("jit(vmap(grad(f), in_axes=(None, 0, 0)))", "squared loss", 4),
    "composition typed": descent("hessian(f)", LOGS, 4),
    "compilation 1": training("regression", network=Network(1, 1, 1, 32), batch_size=32),
    "compilation 4": training("regression", network=Network(1, 1, 4, 32), batch_size=4),
    "compilation XOR": training("XOR", network=Network(2, 1, 3, 2, "sigmoid", "zeros")),
    "pytrees 0": TreeTraining(0, 32),
    "pytrees 2": TreeTraining(2, 8),
    "pytrees dropout": Dropout(16),
    "state_libraries two": Libraries(("pytree", "Equinox"), 8),
    "state_libraries three": Libraries(("pytree", "Flax NNX", "Flax Linen"), 32),
    "state_libraries all": Libraries(("pytree", "Flax NNX", "Flax Linen", "Equinox", "Haiku"), 4),
    "custom_gradients sigmoid": PairTraining(sigmoid, 16),
    "custom_gradients overflow": PairTraining(overflow, 128),
    "custom_gradients fixed point": PairTraining(fixed_point, 4),
    "control_flow scan": Recurrent(8),
    "control_flow unrolled": Recurrent(4, loop="scan, unroll=8"),
    "control_flow few units": Recurrent(32, units=4),
    "multi_device batch": ManyDevices(32, Layout((4, 1))),
    "multi_device units": ManyDevices(16, Layout((2, 2), ("data",), "model")),
    "multi_device both": ManyDevices(8, Layout((2, 2), ("data", "model"), "data")),
    "debugging silent": Watched(8, 0),
    "debugging speaks": Watched(32, 10),
    "debugging at each step": Watched(1, 1),
}  # fmt: skip
STACKS = (
    "grad(f)", "jit(vmap(grad(f), in_axes=(None, 0, 0)))", "jit(vmap(grad(f), in_axes=(0, 0, 0)))",
    "vjp(mean(vmap(f, in_axes=(None, 0, 0))))", "jvp(f)",
)  # fmt: skip
MEASUREMENTS = {
    "grad": (gradient_phases, "Rosenbrock", (1.0, 2.0), ()),
    "grad typed": (gradient_phases, TYPED, (3.0, 1.0), (1.0,)),
    "sweep": (batching_sweep, "affine(w, b, x)", 4, (None, None, 0)),
    "sweep power": (batching_sweep, "x ** power", 4, (0, None)),
    "sweep typed": (batching_sweep, TypedBatchFunction("sin(x) @ y", ((3,), (3,))), 4, (0, 0)),
    "ways": (gradient_ways, 8, SEED),
    "training": (train_step_phases, training("moons", optimizer="momentum"), SEED),
    "training own data": (train_step_phases, own_csv(), SEED),
    "stack": (stack_times, composition.FUNCTIONS["squared loss"], tuple(map(parse, STACKS)), 4, SEED),
    "stack typed": (stack_times, LOGS, (parse("f"), parse("hessian(f)")), 4, SEED),
    "timeline": (compilation.stage_timeline, "vmap(affine)", 8, 1),
    "timeline training": (compilation.stage_timeline, "train_step", 8, 1),
    "lengths": (compilation.compile_sweep, 8, 2),
    "starts": (compilation.fresh_starts,),
    "dispatch": (compilation.dispatch_sweep, (8, 16)),
    "roofline": (compilation.roofline, 8, 1, 16, 64),
    "updates": (update_sweep, 8, 2),
    "libraries": (library_costs, ("pytree", "Equinox"), 8, SEED),
    "fixed point": (custom_gradients.fixed_point_sweep, 8, (2, 4)),
    "checkpoint": (custom_gradients.checkpoint_sweep, 8, (2,)),
    "pair": (custom_gradients.pair_gradients, sigmoid, 8),
    "race": (control_flow.training_race, 8, RATE, SEED),
    "turns": (control_flow.length_sweep, 8, 2),
    "multi devices": (multi_device.device_sweep, 8, SEED),
    "tools": (tool_costs, 8, SEED),
}  # fmt: skip
SWEEPS = ("sweep", "lengths", "dispatch", "updates", "fixed", "checkpoint", "turns", "multi")
MEASURED = ("jit_grad typed", "multi_device units", "training own data")
"""Those that are run to the end, with their timings; of the others, the run."""

RUNNER = """
import contextlib, io, json, runpy, sys
from importlib.util import find_spec

assert find_spec("lib") is None, "the repository can be imported"
losses = {}
for name, cut in json.loads(sys.stdin.read()):
    code = open(name, encoding="utf-8").read()
    if cut:
        code = code.partition("# How long")[0]
    names = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, name, "exec"), names)
    printed = out.getvalue()
    assert "step    1  loss" in printed and (cut or "multi" in name or "jit(step)" in printed), printed
    losses[name] = [float(loss) for loss in names["losses"]]
print(json.dumps(losses))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the script and the notebook of each run."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "flowers.csv").write_text(CSV, encoding="utf-8")
    for name, problem in RUNS.items():
        taken = take_run(problem, SEED, RATE, PAGE, CPU, timings=not isinstance(problem, Watched))
        (folder / f"{name}.py").write_text(taken.script(), encoding="utf-8")
        (folder / f"{name}.ipynb").write_text(taken.notebook(), encoding="utf-8")
    for name, (experiment, *args) in MEASUREMENTS.items():
        sweep = name.startswith(SWEEPS)
        taken = take_measurement(experiment, args, PAGE, CPU, sweep)
        (folder / f"measured {name}.py").write_text(taken.script(), encoding="utf-8")
        nbformat.validate(nbformat.reads(taken.notebook(), as_version=4))
    return folder


SHORT = """
import contextlib, io, json, re, sys

rows = {}
for name in json.loads(sys.stdin.read()):
    code = open(f"measured {name}.py", encoding="utf-8").read()
    code = re.sub(r"time.perf_counter\\(\\) \\+ \\w+", "time.perf_counter()", code)
    for constant, value in (("MIN_SAMPLES", 1), ("SAMPLE_S", 1e-9), ("ROUND_STEPS", 2), ("ROUNDS", 1)):
        code = re.sub(rf"^((?:{constant}|ROUNDS, ROUND_STEPS) = .*)$", rf"\\1\\n{constant} = {value}", code, flags=re.MULTILINE)
    names = {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(compile(code, name, "exec"), names)
    rows[name] = [(record.label, record.phase, record.size) for record in names["records"]]
    assert all(record.low_ms <= record.median_ms <= record.high_ms for record in names["records"]), name
    assert len(out.getvalue().splitlines()) == len(rows[name]), out.getvalue()
print(json.dumps(rows))
"""


def test_a_measurement_is_taken_anew_in_a_process_of_its_own(folder, monkeypatch):
    for constant, value in (("MIN_SAMPLES", 1), ("MAX_SAMPLES", 1), ("SAMPLE_S", 1e-9)):
        monkeypatch.setattr(timing, constant, value)
    monkeypatch.setattr(control_flow, "ROUNDS", 1)
    monkeypatch.setattr(control_flow, "ROUND_STEPS", 2)
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", SHORT], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    first = sorted(MEASUREMENTS, key=lambda name: not name.startswith("multi"))  # it sets the number of devices
    process.stdin.write(json.dumps(first))
    process.stdin.close()
    process.stdin = None
    here = {
        name: [[record.label, record.phase, record.size] for record in records_of(experiment(CPU, *args))]
        for name, (experiment, *args) in MEASUREMENTS.items()
    }
    out, errors = process.communicate(timeout=1200)
    assert process.returncode == 0, errors[-3000:]
    assert json.loads(out) == here


def losses_of_the_page(problem):
    """What the engine computes for a page, up to the last step that is finite; the picture is left out."""
    data = problem.data(SEED)
    bare = without_data(problem)
    program = Program(CPU, _compile_start(bare, data, CPU), _compile_steps(bare, data, CPU), None)
    there = jax.device_put(data, CPU)
    return compute_chunk(program, start_state(program, SEED, there), there, RATE, STEPS, False).metrics["loss"]


def test_scripts_give_the_losses_of_the_page_in_processes_of_their_own(folder):
    many = [name for name in RUNS if name.startswith("multi_device")]  # they set the number of devices
    processes = []
    for names in (many, [name for name in RUNS if name not in many]):
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", RUNNER], cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        process.stdin.write(json.dumps([(f"{name}.py", name not in MEASURED) for name in names]))
        process.stdin.close()
        process.stdin = None
        processes.append(process)
    expected = {name: losses_of_the_page(problem) for name, problem in RUNS.items()}
    got = {}
    for process in processes:
        out, errors = process.communicate(timeout=1200)
        assert process.returncode == 0, errors[-3000:]
        got |= json.loads(out)
    apart = {}
    for name, losses in expected.items():
        assert len(losses) == STEPS or name == "jit_grad two variables", f"{name} has only {len(losses)} finite losses"
        there = np.float32(got[f"{name}.py"])[: len(losses)]
        if not np.array_equal(there, losses):
            apart[name] = float(np.max(np.abs(there - losses) / np.abs(losses)))
    assert not apart


def test_the_linter_and_the_formatter_have_nothing_to_say(folder):
    config = ["--config", str(ROOT / ".ruff.toml"), "--no-cache"]
    # What `.ruff.toml` asks of no example function, class or method of a lesson.
    checked = ["ruff", "check", *config, "--extend-ignore", "D101,D102,D103", "--output-format", "concise", "."]
    for command in (checked, ["ruff", "format", "--check", *config, "."]):
        done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_the_repository_and_of_its_machine_is_in_them(folder):
    for file in folder.glob("*.py"):
        code = file.read_text(encoding="utf-8")
        assert "jaxtyping" not in code and "lru_cache" not in code and "BOARD" not in code, file.name
        assert "from lib" not in code and "import lib" not in code and str(ROOT) not in code, file.name
        for registry in ("FUNCTIONS", "OPTIMIZERS", "ACTIVATIONS", "PAIRS", "LIBRARIES", "PLANE"):
            assert registry not in code, (file.name, registry)
        head = code.partition('"""\n')[0]
        assert "http://host/training?typed=x%22%22%22%5Cy&batch_size=8" in head
        assert f"JAX {jax.__version__}" in head and "pip install jax numpy" in head


@pytest.mark.parametrize("name", ["training circles", "debugging speaks"])
def test_a_notebook_is_valid_and_its_cells_run_in_order(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    notebook = nbformat.reads((folder / f"{name}.ipynb").read_text(encoding="utf-8"), as_version=4)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert text.startswith("# A page: with a title") and "Press **Run**." in text and text.endswith("- Look.")
    names = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and "in_turns" not in cell.source:
            body, _, shown = cell.source.partition("\nalt.Chart")
            exec(body, names)
            if shown:
                chart = eval(f"alt.Chart{shown}", names).to_dict()
    rows = chart["data"]["values"]
    assert [row["step"] for row in rows] == list(range(1, names["NUM_STEPS"] + 1))
    np.testing.assert_array_equal([row["loss"] for row in rows], np.float64(names["losses"]))


def test_a_file_that_is_named_in_a_hostile_way_stays_a_name(tmp_path, monkeypatch):
    name = 'a"); raise SystemExit(3) #.csv'
    dataset = datasets.from_table(datasets.read_csv(CSV.encode()), "kind", SEED, name)
    problem = Training(Network(2, 1, 0, 1), dataset.classes, dataset.picture, "SGD", 8, dataset)
    code = take_run(problem, SEED, RATE, PAGE, CPU).script()
    (tmp_path / name).write_text(CSV, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(code.partition("# The start.")[0] + "data = make_data(SEED)", names)
    np.testing.assert_array_equal(names["data"]["train"][0], dataset.train[0])
