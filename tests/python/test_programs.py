"""quick_test, benchmark and the programs in Python of bench, as they are run."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
import torch

import mhcjit
from mhcjit import benchmark, quick_test
from mhcjit.torch import functional, measuring, reference

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("options", [[], ["--gamma", "--dtype", "fp32", "--n", "2"]])
def test_quick_test_passes_and_says_where(device, capsys, options):
    assert quick_test.main(["--device", device, "--t", "70", "--d", "40", *options]) == 0
    out = capsys.readouterr().out
    assert f"PASS, on the {'GPU' if device == 'cuda' else 'CPU'}" in out
    for word in ("plain PyTorch", "speed-up", "forward", "backward", "h_res", "dphi", torch.__version__):
        assert word in out
    assert ("dgamma" in out) == ("--gamma" in options)


def test_quick_test_fails_where_an_output_is_wrong(monkeypatch, capsys):
    right = functional.pre
    monkeypatch.setattr("mhcjit.torch.pre", lambda *args, **kw: [1.001 * out for out in right(*args, **kw)])
    assert quick_test.main(["--device", "cpu", "--t", "70", "--d", "40", "--dtype", "fp32"]) == 1
    out = capsys.readouterr().out
    assert "FAIL, on the CPU" in out and "PASS" not in out


def test_quick_test_runs_as_a_module():
    command = [sys.executable, "-m", "mhcjit.quick_test", "--device", "cpu", "--t", "8", "--d", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout


@pytest.mark.parametrize("module", ["quick_test", "benchmark"])
def test_without_torch_they_say_so(module):
    code = f"import sys; sys.modules['torch'] = None; from mhcjit import {module}; sys.exit({module}.main())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, f"{module} needs PyTorch: pip install torch\n")
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and f"usage: python -m mhcjit.{module}" in done.stdout and "--gamma" in done.stdout


def test_benchmark_has_a_line_for_each_shape(device, capsys, tmp_path):
    arguments = ["--device", device, "--seconds", "0.01", "5,2,16", "64,4,24"]
    assert benchmark.main([*arguments, "--csv", str(tmp_path / "times.csv")]) == 0
    assert len(capsys.readouterr().out.strip().splitlines()) == 6
    rows = list(csv.DictReader((tmp_path / "times.csv").open()))
    assert [(row["T"], row["n"], row["D"]) for row in rows] == [("5", "2", "16"), ("64", "4", "24")]
    assert benchmark.main([*arguments, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["device"].startswith("GPU" if device == "cuda" else "CPU")
    assert all(value > 0 for row in made["rows"] for value in row.values())


def test_what_a_time_does_not_count():
    """A call's own time, not what is made ready before it."""
    slow = measuring.milliseconds(lambda _: None, torch.device("cpu"), 0.01, lambda: time.sleep(0.02))
    assert slow < 10
    assert measuring.milliseconds(lambda _: time.sleep(0.02), torch.device("cpu"), 0.01) >= 20


@pytest.mark.gpu
def test_peak_memory_counts_what_a_call_makes_and_uses():
    def call(_):
        torch.empty(3 << 20, dtype=torch.uint8, device="cuda")
        return torch.empty(1 << 20, dtype=torch.uint8, device="cuda")

    assert measuring.peak_bytes(call, torch.device("cuda")) == 3 << 20


def results(path: Path) -> tuple[dict, list]:
    return script("scripts", "results").read(path)


def script(folder: str, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def compare() -> types.ModuleType:
    return script("bench", "compare")


def test_compare_writes_what_it_measured(device, compare, tmp_path):
    tsv, table = tmp_path / "out.tsv", tmp_path / "out.csv"
    options = ["--device", device, "--only", "mhcjit,torch eager", "--seconds", "0.01", "64,2,16", "8,4,24"]
    assert compare.main([*options, "--results", str(tsv), "--commit", "abc", "--csv", str(table)]) == 0
    head, rows = results(tsv)
    assert head["commit"] == "abc" and head["torch"] == torch.__version__
    assert [row["implementation"] for row in rows] == ["mhcjit", "torch eager"] * 2
    for row in rows:
        assert float(row["h_post"]) <= 1e-5 and float(row["dphi"]) <= 1e-5
        assert float(row["forward_ms"]) > 0 and float(row["backward_ms"]) > 0
    assert rows == list(csv.DictReader(table.open()))


def test_compare_keeps_the_rows_it_has_when_it_is_interrupted(compare, monkeypatch, tmp_path):
    def interrupted(self, **inputs):
        raise KeyboardInterrupt

    monkeypatch.setattr(compare.Eager, "forward", interrupted)
    tsv = tmp_path / "out.tsv"
    options = ["--device", "cpu", "--only", "mhcjit,torch eager", "--seconds", "0.01", "--results", str(tsv), "8,2,16"]
    with pytest.raises(KeyboardInterrupt):
        compare.main(options)
    _, rows = results(tsv)
    assert [row["implementation"] for row in rows] == ["mhcjit"]


def test_compare_names_an_error_that_says_nothing(compare, monkeypatch, capsys):
    def refuse(self, **inputs):
        raise AssertionError

    monkeypatch.setattr(compare.Eager, "forward", refuse)
    assert compare.main(["--device", "cpu", "--only", "torch eager", "8,2,16"]) == 0
    assert "torch eager at (8, 2, 16): AssertionError\n" in capsys.readouterr().err


def test_readme_and_performance_have_the_numbers_of_compare(compare, tmp_path):
    for name in ("scripts", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "README.md", tmp_path)
    tsv = tmp_path / "docs" / "results" / "h200" / "compare.tsv"
    options = ["--device", "cpu", "--only", "mhcjit,torch eager", "--seconds", "0.01", "8,2,16"]
    assert compare.main([*options, "--results", str(tsv), "--commit", "c0ffee"]) == 0
    written = tsv.read_text().replace("\t8\t2\t16\tbf16\t", "\t8192\t4\t4096\tbf16\t")  # README's shape
    tsv.write_text(written)
    _, rows = results(tsv)
    ours = rows[0]
    program = [sys.executable, str(tmp_path / "scripts" / "write-performance")]
    subprocess.run(program, capture_output=True)  # the pictures may need a matplotlib that is not here

    times = [f"{1e3 * float(ours[name]):.1f}" for name in ("forward_ms", "backward_ms")]
    ratios = [f"{float(ours[name]):.2f}" for name in ("forward_floors", "backward_floors")]
    cells = f"mhcjit | {mhcjit.__version__} | {times[0]} | {ratios[0]} | - | {times[1]} | {ratios[1]} | - |"
    assert f"\n| {cells}\n" in (tmp_path / "README.md").read_text()
    assert f"\n| 4 | 4096 | 8192 | bf16 | {cells}\n" in (tmp_path / "docs" / "performance.md").read_text()

    tsv.write_text(written.replace(ours["forward_ms"], "12345"))
    checked = subprocess.run([*program, "--check"], capture_output=True, text=True)
    assert checked.returncode == 1
    for name in ("README.md", "docs/performance.md"):
        assert f"{name} differs from docs/results" in checked.stderr


def test_compare_does_not_time_another_function(compare, monkeypatch, tmp_path, capsys):
    def half(self, **inputs):
        h_in, h_post, h_res = measuring.plain(**inputs)
        return h_in, 0.5 * h_post, h_res

    monkeypatch.setattr(compare.Eager, "forward", half)
    table = tmp_path / "out.csv"
    compare.main(["--device", "cpu", "--only", "torch eager", "--csv", str(table), "8,2,16"])
    assert "torch eager at (8, 2, 16): wrong, so not timed: h_post, dx, dphi" in capsys.readouterr().err
    (row,) = csv.DictReader(table.open())
    assert float(row["h_post"]) == pytest.approx(0.5, abs=1e-3) and "forward_ms" not in row


@pytest.mark.parametrize("name", ["Liger", "TileKernels", "TransformerEngine"])
def test_compare_converts_to_a_layout_and_back(compare, name):
    """What an implementation is given and gives back, with the one itself replaced by its statement."""
    inputs = {key: tensor for key, tensor in reference.random_inputs((6,), 4, 8).items() if tensor is not None}
    implementation = getattr(compare, name)()
    made = implementation.inputs({**inputs, "x": inputs["x"].float()})
    dx, dphi = implementation.gradients(made)
    assert torch.equal(dx, inputs["x"].float()) and torch.equal(dphi, inputs["phi"])


def test_overhead_has_a_row_for_each_way_to_call(device, monkeypatch, tmp_path):
    overhead = script("bench", "python_overhead")
    for name, value in {"BATCH": 2, "BATCHES": 3, "PASSES": 2}.items():
        monkeypatch.setattr(overhead, name, value)
    monkeypatch.setattr(overhead.os, "sched_setaffinity", lambda *_: None)  # of this process, for good
    overhead.main(["--device", device, "--d", "64", "--results", str(tmp_path / "out.tsv")])
    head, rows = results(tmp_path / "out.tsv")
    assert head["D"] == "64"
    of_forward = [row for row in rows if row["op"] == "pre_forward"]
    assert [row["call"] for row in of_forward][:2] == ["launch", "direct, into given outputs"] and len(of_forward) == 6
    for row in rows:
        assert float(row["spread_us"]) >= 0 and (float(row["over_launch_us"]) > 0) == (row["call"] != "launch")


def test_compare_draws(compare, tmp_path):
    pytest.importorskip("matplotlib")
    options = ["--device", "cpu", "--only", "mhcjit", "--seconds", "0.01", "8,2,16"]
    assert compare.main([*options, "--png", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
