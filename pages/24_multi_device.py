"""From pmap to sharding: one program, many devices

A mesh gives devices names in rows and columns, and a `PartitionSpec` says which axis of an array is cut along which axis
of the mesh. The step stays as it was written for one device: each device computes on its pieces, and where one needs what
another has, a collective moves it. `pmap`, the old way, wants an axis of devices in front of every array.

References:
    Distributed arrays: https://docs.jax.dev/en/latest/notebooks/Distributed_arrays_and_automatic_parallelization.html
    shard_map: https://docs.jax.dev/en/latest/notebooks/shard_map.html
    More than one process: https://docs.jax.dev/en/latest/multi_process.html
"""

import jax
import streamlit as st

from lib.lessons.multi_device import many_devices, processes_view, view, worker
from lib.lessons.multi_device import measure as collectives
from lib.lessons.multi_device import routine as sharding
from lib.lessons.multi_device.mistakes import MISTAKES
from lib.live.devices import CPUS
from lib.ui import frame, panels
from lib.ui.live_view import live
from lib.ui.settings import ask

controls = frame.begin(__doc__)
device, batch_size = controls.device, controls.batch_size

layout = view.choose_layout(device)
task = many_devices.ManyDevices(batch_size, layout)
st.caption(
    f"**Device** is the first of the mesh, and the single device: here {', '.join(map(str, layout.devices(device)))}, of "
    f"{jax.device_count(device.platform)} there are. The CPU's devices are simulated, on {CPUS} cores of this machine."
)
view.show_refusal(task, device)

st.subheader("Live: the same training, in each way", anchor=False)
log = ask("sharding_log", "Logarithmic loss")
live(task, controls, view.draw_run(task.ways, log), pace="20", extra_stats=view.difference)

code, places = st.columns([1, 1.1], gap="large")
with code:
    st.subheader("The step, and three ways to many devices", anchor=False)
    panels.source(sharding.train_step)
    alone, old, mapped, automatic = st.tabs(["the network", "pmap: the old way", "shard_map", "jit with NamedSharding"])
    with alone:
        panels.source(sharding.predict, sharding.loss_fn)
    with old:
        panels.source(sharding.by_pmap, sharding.pmap_step)
        st.markdown(
            "Old, because the devices show in every shape: parameters are stacked, once a device, batches are cut by hand, "
            "there is one axis of devices and no other, and nothing bigger than one device's memory has a place."
        )
    with mapped:
        panels.source(sharding.by_shard_map, sharding.shard_map_step)
    with automatic:
        panels.source(sharding.by_jit)
with places:
    st.subheader("Which device holds which piece", anchor=False)
    if task.ways[-1] == sharding.JIT:
        panels.answer(view.draw_placement, device, many_devices.placement, layout, device, batch_size)
    else:
        st.caption("This batch cannot be placed; see above.")

st.subheader("What the devices say to one another", anchor=False)
panels.answer(view.draw_programs, device, collectives.programs, task, device)
panel = st.expander("The compiled programs, as text", key="sharding_hlo", bind="query-params")
if panel.open:
    with panel:
        panels.answer(
            lambda made: panels.text_view("sharding_hlo", {program.way: program.hlo for program in made}),
            device, collectives.programs, task, device,
        )  # fmt: skip

st.subheader("Time against the number of devices", anchor=False)
st.markdown(
    f"An honest word: simulated devices share the {CPUS} cores of this machine, which one device uses alone already. They "
    "show what is right, what moves, and what a step on more devices costs in dispatch and waiting. They cannot show a "
    "speed-up: that takes devices with arithmetic units, memory and links of their own."
)
panels.measure(
    "devices", controls, lambda records: view.draw_times(records, device.platform),
     f"A step at batch size {batch_size:,}, and at one of {collectives.LARGE_BATCH:,}.",
    collectives.device_sweep, batch_size, controls.seed,
)  # fmt: skip

st.subheader("More than one process", anchor=False)
st.markdown(
    "A device belongs to one process, and a cluster has one or more a machine. `jax.distributed.initialize` brings them "
    "together: from then on `jax.devices()` lists everybody's, and the same `jit` runs over all. Here two new processes "
    "start on this machine, with a CPU device each; their collectives go through the network, by gloo."
)
processes_view.processes(controls)
st.markdown("**On a cluster**: the same command on each machine, with its own number and the address of the first.")
st.code("\n".join(processes_view.COMMAND.format(process) for process in range(2)), language="sh", wrap_lines=True)
panels.source(worker.train, label="What each process runs")

st.subheader("What to notice", anchor=False)
st.markdown(
    """
- The losses coincide to rounding: sums are taken in another order, and nothing else differs. (1e-9 in the chart: no
  difference at all.)
- Batch cut, parameters whole: one `all-reduce` of the gradients. Its result has 4 bytes for each parameter, whatever the
  batch size.
- Hidden units over the axis that cuts the batch as well: each device keeps a part of the parameters, fetches the others
  (`all-gather`) and gives back what it computed for them (`reduce-scatter`, or `all-reduce` and a slice).
- Hidden units over the other axis: examples stay where they are, and partial sums of predictions are added.
- An axis that nothing is cut along does the same work again on each of its devices.
- `make_mesh` gives axes of the type `Explicit`, where shardings are part of types, and what is ambiguous is an error.
  Here they are `Auto`: the compiler decides.
- Batch size is cut, so it must divide. The learning rate is the same number for all; it changes without compiling.
"""
)
st.subheader("Break it", anchor=False)
panels.break_it("devices", MISTAKES)
