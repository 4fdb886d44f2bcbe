"""The tools of the page on debugging, its gallery of mistakes, and its hunt for a NaN."""

import re
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import train_steps
from test_first_pages import show
from test_pages import numbers, open_page, pick, press, run_until, settle

from lib.lessons.debugging import routine as debugging
from lib.lessons.debugging import terminal, view
from lib.lessons.debugging import tools as debug_tools
from lib.lessons.debugging.measure import run_in_a_terminal, tool_costs, use_tool_alone
from lib.lessons.debugging.mistakes import MISTAKES
from lib.lessons.debugging.nan_hunt import Step, first_bad, hunt
from lib.lessons.debugging.tools import TOOLS, use_tool
from lib.live.engine import default_engine
from lib.live.run import Spec
from lib.measure.jaxprs import equations_of
from lib.measure.timing import records_of


def params_at(deviation: float):
    return jax.device_get(debugging.init_params(jax.random.key(0))) | {"b2": np.array([0, deviation], np.float32)}


# The step.


def test_the_loss_is_that_of_a_normal_distribution():
    x, y = np.float32(0.3), np.float32(-0.7)
    mean, scale = debugging.predict(params_at(2.0), x)
    density = np.exp(-0.5 * ((y - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
    expected = -np.log(density) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(debugging.example_loss(params_at(2.0), x, y), expected, rtol=1e-5)


@pytest.mark.parametrize(("learning_rate", "finite"), [(0.03, True), (1.0, False)])
def test_the_default_learning_rate_is_well_and_a_high_one_ends_in_nan(learning_rate, finite):
    problem = debugging.Watched(32, 0)
    data = problem.data(0)
    _, metrics, _ = train_steps(problem, problem.init(jax.random.key(0), data), data, learning_rate, 1000)
    losses = np.asarray(metrics["loss"][:1000])
    assert np.isfinite(losses).all() == finite
    assert not finite or losses[-100:].mean() < losses[0] - 0.3


def test_each_run_reads_its_own_messages_though_the_program_is_one():
    tickets = [debugging.BOARD.ticket() for _ in range(2)]
    programs = train_steps._cache_size()
    for ticket, rate in zip(tickets, (0.01, 0.1), strict=True):
        problem = debugging.Watched(8, 5, ticket)
        data = problem.data(0)
        jax.block_until_ready(train_steps(problem, problem.init(jax.random.key(1), data), data, rate, 12))
    assert train_steps._cache_size() == programs + 1
    jax.effects_barrier()
    said = [debugging.BOARD.read(ticket, 12) for ticket in tickets]
    assert [[text.split(":")[0] for text in texts] for texts in said] == [["step 10", "step 5", "step 0"]] * 2
    assert said[0][2] == said[1][2] and said[0][0] != said[1][0]
    assert debugging.BOARD.read(tickets[0], 6) == said[0][1:]


def test_the_board_keeps_so_much_and_no_more():
    board = debugging.Board()
    for step in range(board.LENGTH + 50):
        board.note(1, step, 0.0, 1.0)
    assert len(board.read(1, 10**6)) == board.LENGTH
    for ticket in range(board.SIZE + 10):
        board.note(ticket + 5, 0, 0.0, 1.0)
    assert board.read(1, 10**6) == [] and len(board._said) == board.SIZE
    for step in (10, 20, 10):  # a part of a chunk is taken again
        board.note(1, step, float(step), 1.0)
    assert board.read(1, 10**6) == ["step 10: loss 10.0000, smallest deviation 1.0000"]


def test_steps_that_are_not_a_number_push_no_message_out():
    ticket = debugging.BOARD.ticket()
    problem = debugging.Watched(32, 10, ticket)
    data = problem.data(0)
    state = problem.init(jax.random.key(0), data)
    for count in (25, 3000):  # the second chunk ends in NaN after a few steps, and goes on for many
        state, metrics, _ = train_steps(problem, state, data, 1.0, count)
    jax.block_until_ready(state)
    jax.effects_barrier()
    assert not np.isfinite(metrics["loss"][2999])
    said = [text.split(":")[0] for text in debugging.BOARD.read(ticket, 26)]
    assert said == ["step 20", "step 10", "step 0"]


# The tools.


HERE = [name for name, tool in TOOLS.items() if not tool.alone]


@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize(("batch_size", "learning_rate"), [(1, 1e-4), (32, 0.03), (4096, 10.0)])
def test_a_tool_says_something_under_every_heading(name, batch_size, learning_rate):
    said = use_tool(name, batch_size, learning_rate, 0)
    assert all(lines and all(lines) for lines in said.values())


def test_print_sees_tracers_once_and_debug_print_numbers_each_time():
    said = use_tool("jax.debug.print", 32, 0.03, 0)
    python, real = said.values()
    assert len(python) == 1 and "Tracer" in python[0]
    assert len(real) == 3 and float(real[0].split()[1]) > float(real[2].split()[1])


def test_our_debug_print_says_what_jax_s_own_says(capsys):
    said = []

    @jax.jit
    def both(x):
        jax.debug.print("loss {loss:.3f}, {n}", loss=x, n=x.astype(int))
        debug_tools.debug_print(said.append, "loss {loss:.3f}, {n}", loss=x, n=x.astype(int))
        return x

    jax.block_until_ready(both(jnp.float32(1.25)))
    jax.effects_barrier()
    assert capsys.readouterr().out == said[0] + "\n"


def test_no_tool_writes_what_it_says_to_the_standard_output_of_all(capsys):
    for name in HERE:
        use_tool(name, 8, 0.03, 0)
    written = capsys.readouterr().out
    assert "loss" not in written and "example" not in written


def test_the_callback_names_the_example_of_the_largest_loss():
    batch = debugging.batch_at(debugging.noisy_sine(0), 0, 32)
    params = debugging.init_params(jax.random.key(0))
    losses = [float(debugging.example_loss(params, x, y)) for x, y in zip(*batch, strict=True)]
    (said,) = use_tool("jax.debug.callback", 32, 0.03, 0).values()
    assert said[0].startswith(f"example {np.argmax(losses)}, ") and said[0].endswith(f"{max(losses):.4f}")


def test_a_callback_is_not_dropped_though_nobody_needs_what_it_is_given():
    said = []

    @jax.jit
    def f(x):
        jax.debug.callback(said.append, jnp.sin(x))
        return x

    f(1.0)
    jax.effects_barrier()
    np.testing.assert_allclose(said, np.sin(1.0), rtol=1e-6)


@pytest.mark.parametrize(("batch_size", "pieces"), [(1, 1), (2, 2), (6, 3), (32, 4)])
def test_the_sharding_shows_each_device_its_piece(batch_size, pieces):
    said = use_tool("visualize_array_sharding", batch_size, 0.03, 0)
    assert len(said["inputs"]) == len(said["losses"]) == min(pieces, len(jax.devices()))
    rows = batch_size // len(said["inputs"])
    for place, line in enumerate(said["inputs"]):
        assert line.endswith(f"{rows} of {batch_size} rows, from {place * rows}")
    assert all("2 of 2 rows" in line for line in said["params['w2']"])


def test_checkify_tells_the_three_kinds_of_errors_apart():
    said = {case: lines[0] for case, lines in use_tool("checkify", 32, 0.03, 0).items()}
    assert said["all well"] == "no error"
    assert "must be above 0, got -1" in said["our own check"]
    assert "log" in said["NaN, wherever it comes up"] and "nan" in said["NaN, wherever it comes up"]
    assert "out-of-bounds" in said["an index out of bounds"]


def test_debug_nans_raises_where_there_was_silence():
    without, under = (lines[0] for lines in use_tool("debug_nans", 32, 0.03, 0).values())
    assert "nan" in without and under.startswith("FloatingPointError") and "log" in under


def test_disable_jit_shows_numbers_where_there_was_a_tracer():
    compiled, python = use_tool("disable_jit", 32, 0.03, 0).values()
    assert len(compiled) == 1 and "Tracer" in compiled[0]
    assert len(python) == 2 and float(python[0].split()[1]) == float(python[1].split()[1])


def test_checking_leaks_finds_the_tracer_and_tells_no_folder_of_the_server():
    without, under = (lines[0] for lines in use_tool_alone("checking_leaks", 32, 0.03, 0).values())
    assert without.startswith("no error")
    assert under.startswith("Exception") and "tracer" in under.lower() and "/" not in under


CONTEXTS = {
    "debug_nans": lambda: jax.debug_nans(True),
    "disable_jit": jax.disable_jit,
    "checking_leaks": jax.checking_leaks,
    "enable_x64": lambda: jax.enable_x64(True),
}


def switches():
    config = jax.config
    return (config.jax_debug_nans, config.jax_disable_jit, config.jax_check_tracer_leaks, config.jax_enable_x64)


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_switch_holds_for_its_own_thread_alone(name):
    def in_another_thread(fun):
        seen = []
        thread = threading.Thread(target=lambda: seen.append(fun()))
        thread.start()
        thread.join()
        return seen[0]

    def ordinary():
        kept, traced = [], []

        @jax.jit
        def f(x):
            traced.append(x)
            kept.append(x * 2)
            return jnp.log(x)

        return np.isnan(f(-1.0)), "Tracer" in str(traced[0]), jnp.asarray(np.float64(1.0)).dtype == jnp.float32

    before = switches()
    with CONTEXTS[name]():
        assert switches() != before
        assert in_another_thread(switches) == before
        assert in_another_thread(ordinary) == (True, True, True)
    assert switches() == before


def test_the_terminal_shows_what_the_real_ones_print():
    text = run_in_a_terminal()
    lines = text.splitlines()
    assert sum(line.startswith("print:") for line in lines) == 1 and "Tracer" in lines[0]
    assert sum(line.startswith("jax.debug.print:") for line in lines) == 3
    assert "jax.debug.visualize_array_sharding:" in lines
    assert "CPU 3" in text or "rich" in text


def test_the_program_for_the_terminal_is_the_one_whose_source_is_shown(capsys):
    terminal.step(jnp.ones(4), jnp.ones((2, 4)))
    jax.effects_barrier()
    assert "jax.debug.print: 16.0000" in capsys.readouterr().out


def test_every_tool_is_timed():
    records = records_of(tool_costs(jax.devices()[0], 8, 0))
    assert len(records) == 6 and all(record.median_ms > 0 for record in records)


# The hunt.


def test_the_hunt_finds_the_logarithm_of_a_negative_deviation():
    found = hunt(Step(params_at(-0.1), 3, 16, 0.1, 0))
    assert found.loss == "nan"
    assert found.debug_nans.startswith("FloatingPointError") and "log" in found.debug_nans and "log" in found.checkify
    line = found.program[found.place]
    assert "= log " in line.text and "jnp.log(scale)" in line.source
    assert "-0.1" in found.took[0] and "nan" in found.gave[0]


def test_the_hunt_says_so_when_all_is_well():
    found = hunt(Step(params_at(1.0), 3, 16, 0.1, 0))
    assert found.place is None and found.debug_nans == found.checkify == "no error"
    assert np.isfinite(float(found.loss))


@pytest.mark.parametrize(
    ("fun", "primitive"),
    [
        (lambda x: jnp.log(jax.nn.relu(x)), "log"),
        (lambda x: jax.jit(lambda x: jax.jit(jnp.sin)(x) / (x - x))(x) + 1, "div"),
        (lambda x: jax.lax.fori_loop(0, 3, lambda _, x: x * 1e20, x) - 1.0, "while scan"),
        (lambda x: jnp.where(x > 0, x, 0.0) * 1e30 * 1e30, "mul"),
    ],
)
def test_the_first_bad_equation_has_its_place_in_the_listing(fun, primitive):
    args = (jnp.float32(-2.0),) if primitive == "log" else (jnp.float32(2.0),)
    closed = jax.make_jaxpr(fun)(*args)
    place, took, gave = first_bad(closed, args)
    equation = list(equations_of(closed.jaxpr))[place]
    assert equation.primitive.name in primitive.split()
    assert any("inf" in text or "nan" in text for text in gave) and not any("inf" in text for text in took)


# The gallery.


def test_the_clock_that_does_not_wait_shows_too_little(on_cpu):
    times = [(MISTAKES["timing the dispatch"].wrong(), MISTAKES["timing the dispatch"].right()) for _ in range(5)]
    assert min(wrong for wrong, _ in times) < 0.5 * min(right for _, right in times)


def test_one_key_gives_the_same_draws():
    np.testing.assert_allclose(MISTAKES["a key used twice"].wrong(), 1.0, atol=1e-5)


def test_an_index_beyond_the_end_reads_the_last_and_writes_nothing():
    assert [float(value) for value in MISTAKES["an index out of bounds"].wrong()] == [3.0, 6.0]


# The page.


def panel(name: str):
    return show(open_page("debugging"), "debugging", name)


def messages(app) -> str:
    return next((code.value for code in app.code if "smallest deviation" in code.value), "")


def test_the_page_finds_the_nan_after_a_divergence():
    app = panel("Find the NaN")
    pick(app, "Learning rate", 1.0)
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: "diverged" in shown["Status"])
    settle(app.run())  # a frame that was drawn while it diverged is not the last one
    assert messages(app)
    press(settle(app.run()), "Find the NaN")
    settle(app.run())
    assert any("The equation that made it" in text.value for text in app.markdown)
    assert any("FloatingPointError" in code.value for code in app.code)
    assert numbers(app)["Step"] != "0"
    press(app, "Reset")
    assert not messages(app)


def test_after_a_divergence_one_of_two_buttons_leads_on():
    app = open_page("debugging")
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: int(shown["Step"].replace(",", "")) > 2000)
    pick(app, "Learning rate", 10.0)
    run_until(app, lambda shown: "diverged" in shown["Status"])
    offered = re.search(r"\*\*Go back\*\* returns to step ([\d,]+),", app.warning[0].value)
    assert offered
    press(app, "Go back")
    assert numbers(app)["Step"] == offered[1] and not app.warning
    assert "paused" in numbers(app)["Status"]
    pick(app, "Learning rate", 0.003)
    step = int(offered[1].replace(",", ""))
    press(app, "Run")
    run_until(app, lambda shown: int(shown["Step"].replace(",", "")) > step + 500)
    assert "running" in numbers(app)["Status"] and float(numbers(app)["Loss"]) < 1
    press(app, "Reset")
    assert numbers(app)["Step"] == "0"


def test_a_run_that_has_not_begun_gets_another_ticket_and_one_that_goes_on_keeps_its_own(make_run, monkeypatch):
    session = {}
    monkeypatch.setattr(view.st, "session_state", session)
    run = make_run(default_engine())
    run.configure(Spec(debugging.Watched(8, 1, np.int32(0)), jax.devices()[0], 0), 0.01)
    before = view.ticket(run, 0)
    assert view.ticket(run, 0) != before, "it is ready still, or again"
    run.step()
    kept = view.ticket(run, 0)
    assert view.ticket(run, 0) == kept
    assert view.ticket(run, 1) != kept, "the seed begins another run"
    run.reset()
    assert view.ticket(run, 1) not in (before, kept)


def test_messages_of_a_run_that_was_reset_never_appear_in_the_next():
    app = open_page("debugging")
    app.session_state["calls_back"] = "every step"
    settle(app.run())
    pick(app, "Steps a second", "unlimited")
    press(app, "Run")
    run_until(app, lambda shown: int(shown["Step"].replace(",", "")) > 500)
    _, old = app.session_state["_ticket"]
    press(app, "Reset")
    debugging.BOARD.note(old, 0, 12.5, 1.0)  # a step that was on its way
    press(app, "Step")
    run_until(app, lambda shown: shown["Step"] == "1")
    settle(app.run())
    assert app.session_state["_ticket"][1] != old
    assert messages(app).startswith("step 0: ") and "12.5" not in messages(app)


def test_one_press_provokes_a_mistake_on_the_page():
    app = panel("Break it")
    for name in ("assignment in place", "NaN through where"):
        app.session_state["gallery"] = name
        settle(app.run())
        assert any(text.value == MISTAKES[name].explanation for text in app.info)
    assert any(code.value == "nan" for code in app.code)
