"""`lib/live/devices.py`: the devices that one can choose from."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

from lib.live.devices import SIMULATED_CPU_DEVICES, devices, name

ROOT = Path(__file__).parents[1]


def test_every_cpu_device_is_there_by_name():
    found = devices()
    for i, device in enumerate(jax.devices("cpu")):
        assert found[f"cpu:{i}"] is device


def test_there_are_as_many_as_jax_has():
    expected = set(jax.devices()) | set(jax.devices("cpu"))
    assert set(devices().values()) == expected and len(devices()) == len(expected)


def test_the_first_is_the_default_one():
    assert next(iter(devices().values())) == jax.devices()[0]


def test_accelerators_come_first_and_the_cpu_s_devices_after_them(monkeypatch):
    gpus = [SimpleNamespace(platform="gpu", id=i, device_kind="H100") for i in range(2)]
    cpus = [SimpleNamespace(platform="cpu", id=i, device_kind="cpu") for i in range(2)]
    monkeypatch.setattr(jax, "devices", lambda backend=None: cpus if backend == "cpu" else gpus)
    assert list(devices()) == ["cuda:0 (H100)", "cuda:1 (H100)", "cpu:0", "cpu:1"]
    assert list(devices().values()) == [*gpus, *cpus]


@pytest.mark.parametrize(
    ("platform", "kind", "expected"),
    [("cpu", "cpu", "cpu:2"), ("gpu", "NVIDIA H100", "cuda:2 (NVIDIA H100)"), ("tpu", "TPU v4", "tpu:2 (TPU v4)")],
)
def test_a_name_says_platform_number_and_kind(platform, kind, expected):
    assert name(SimpleNamespace(platform=platform, id=2, device_kind=kind)) == expected


@pytest.mark.parametrize(
    ("before", "env", "expected"),
    [("", {}, SIMULATED_CPU_DEVICES), ("", {"JAX_NUM_CPU_DEVICES": "2"}, 2), ("import jax; jax.devices()", {}, 1)],
    ids=["by default", "the variable wins", "a backend that runs stays as it is"],
)
def test_importing_it_gives_the_cpu_its_devices(before, env, expected):
    code = f"{before}\nimport jax\nfrom lib.live.devices import devices\nprint(len(jax.devices('cpu')))"
    inherited = {key: value for key, value in os.environ.items() if key not in ("JAX_NUM_CPU_DEVICES", "XLA_FLAGS")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**inherited, "JAX_PLATFORMS": "cpu", **env}, cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert int(done.stdout.split()[-1]) == expected


def test_a_server_whose_platform_does_not_exist_ends_with_what_to_do():
    environment = {**os.environ, "JAX_PLATFORMS": "abacus"}
    command = [sys.executable, "-c", "import dashboard"]  # what `streamlit run` does as it starts
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 1 and last.startswith(
        "JAX cannot start: there is no JAX_PLATFORMS=abacus here; unset it"
    )
    assert "Traceback" not in ended.stderr
