"""From pmap to sharding: one program, many devices

This page trains one network in four ways: on the chosen device alone, and on a mesh of several by `pmap`, `shard_map`
and `jit`. Press **Run**: the four losses coincide. Then choose another **Mesh** or split the **Parameters**: the
picture shows who holds which piece.

A mesh gives devices names in rows and columns, and a `PartitionSpec` says which axis of an array is split along which axis
of the mesh. The step stays as it was written for one device. `pmap`, the old way, maps over one axis of an array, one index
a device.

References:
    Distributed arrays: https://docs.jax.dev/en/latest/notebooks/Distributed_arrays_and_automatic_parallelization.html
    shard_map: https://docs.jax.dev/en/latest/notebooks/shard_map.html
    More than one process: https://docs.jax.dev/en/latest/multi_process.html
"""

import streamlit as st

from lib.lessons.multi_device import many_devices, processes_view, view, worker
from lib.lessons.multi_device import measure as collectives
from lib.lessons.multi_device import routine as sharding
from lib.lessons.multi_device.mistakes import MISTAKES
from lib.lessons.multi_device.questions import QUESTIONS
from lib.lessons.multi_device.snippet import line, printed_in_turn, snippet
from lib.live.devices import CPUS
from lib.routines.snippets import source
from lib.ui import frame, panels, predict, stage, waiting
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin().here()  # its arrays lie on several devices of this process
device, batch_size = controls.device, controls.batch_size

with stage.settings():
    layout = view.choose_layout(device)
    log = ask("sharding_log", "Log scale")
task = many_devices.ManyDevices(batch_size, layout)
advice = view.advice(task, device.platform)
placed = sharding.JIT in task.ways
if advice:
    with stage.below():
        st.caption(f":material/warning: {advice}")
arrays = many_devices.placement(layout, device, batch_size) if placed else ()
run = live(
    task, controls, view.draw_run(task.ways, log, arrays), code=line(layout), suits=(0.01, 0.3), pace="20",
    extra_stats=view.difference,
)  # fmt: skip


def code() -> None:
    whole, ways = st.columns(2, gap="large")
    with whole:
        if placed:
            panels.snippet(
                snippet(layout, batch_size, controls.learning_rate, device.platform), controls, run=printed_in_turn
            )
        else:
            panels.answer(panels.outcome, device, many_devices.refusal, layout, device, batch_size)
    with ways:
        st.markdown("The run above: the step of one device, and what each way makes of it.")
        st.code(source(sharding.train_step), wrap_lines=True)
        old, mapped, automatic = st.tabs(["pmap", "shard_map", "jit"])
        with old:
            st.code(source(sharding.by_pmap, sharding.pmap_step), wrap_lines=True)
        with mapped:
            st.code(source(sharding.by_shard_map, sharding.shard_map_step), wrap_lines=True)
        with automatic:
            st.code(source(sharding.by_jit), wrap_lines=True)


def difference() -> None:
    def look() -> waiting.Look:
        snapshot = run.snapshot()
        return waiting.Look(snapshot.step, not snapshot.active)

    waiting.watch(look, lambda _: view.draw_difference(run.snapshot()), endless=True)


def inside() -> None:
    def draw(made: tuple[collectives.CompiledStep, ...]) -> None:
        view.draw_programs(made)
        panels.text_view("sharding_hlo", {program.way: program.hlo for program in made})

    panels.answer(draw, device, collectives.programs, task, device)


def timings() -> None:
    st.markdown(
        f"Simulated devices share the {CPUS} cores of this machine, which one device uses already. They show what moves and "
        "what a step on more devices costs. They cannot show a speed-up."
    )
    panels.measure(
        "devices", controls, lambda records: view.draw_times(records, device.platform),
        f"A step at batch size {batch_size:,}, and at one of {collectives.LARGE_BATCH:,}.",
        collectives.device_sweep, batch_size, controls.seed,
    )  # fmt: skip


def processes() -> None:
    here, there = st.columns(2, gap="large")
    with here:
        st.markdown(
            "A device belongs to one process, and a cluster has at least one process a machine. "
            "`jax.distributed.initialize` connects them: then `jax.devices()` lists all devices, and the same `jit` runs "
            "over them. Here two processes start on this machine, with one CPU device each."
        )
        processes_view.processes(controls)
    with there:
        st.markdown(
            "**On a cluster**: the same command on each machine, with its own number and the address of the first."
        )
        st.code("\n".join(map(processes_view.COMMAND.format, range(2))), language="sh", wrap_lines=True)
        st.code(source(worker.train), wrap_lines=True, height=420)


NOTICE = """
- The losses coincide but for rounding: **Difference** shows it, step by step.
- Batch split, parameters whole: one `all-reduce` adds up the gradients. Its result has 4 bytes for each parameter and 4
  for the loss, whatever the batch size. **Inside** counts what moves.
- Hidden units over the axis that splits the batch as well: each device keeps a part of the parameters, fetches the others
  (`all-gather`) and returns what it computed for them (`reduce-scatter`, or `all-reduce` and a slice).
- Hidden units over the other axis: the predictions are partial sums, which `all-reduce` adds.
- Along an axis that splits nothing, each device does the same work.
- `make_mesh` gives axes of the type `Explicit`, where shardings are part of types. Here they are `Auto`: the compiler
  decides.
- A batch that is split must divide. The learning rate is the same number on all devices, and changes without compiling.
"""

panels.follow(
    {
        "Predict": predict.ready(QUESTIONS, controls, layout=layout),
        "Code": code,
        "Difference": difference,
        "Inside": inside,
        "Timings": timings,
        "Processes": processes,
        "Notice": NOTICE,
        "Break it": lambda: panels.break_it("devices", MISTAKES),
    },
    terms=("mesh", "sharding", "collective", "dispatch", "HLO"),
)
