"""The examples on a small text that Debian's base-files has: curves that agree, resuming, two ranks, padding."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

sys.path.insert(0, str(EXAMPLES.parent / "scripts"))

import gpt  # noqa: E402
import results  # noqa: E402
import serve  # noqa: E402
import train_text  # noqa: E402

TEXT = ["--text", "/usr/share/common-licenses/GPL-3"]
TINY = [*TEXT, "--size", "tiny", "--device"]


@pytest.fixture(autouse=True)
def _as_it_was():
    """The examples run in this process, whose other tests want PyTorch's own settings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small tensors gain nothing from more
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.utils.deterministic.fill_uninitialized_memory = True


def run(example, arguments: list[str], capsys: pytest.CaptureFixture) -> tuple[int, dict]:
    status = example.main([*arguments, "--json"])
    printed = capsys.readouterr().out
    return status, json.loads(printed) if printed else {}


def test_the_curves_agree_over_300_steps_and_fall(device, capsys, tmp_path):
    # In the first block h_pre's gradient is rounding alone, of which Adam makes whole steps: with seed 0 up to 1e-4.
    options = ["--seed", "1", "--plot", str(tmp_path / "curves.png")]
    options += ["--results", str(tmp_path / "losses.tsv"), "--commit", "abc"]
    status, result = run(train_text, [*TINY, device, *options], capsys)
    assert status == 0 and result["worst"] <= result["band"]
    for implementation in ("mhcjit", "torch"):
        losses = result[implementation]["losses"]
        assert len(losses) == 300 and losses[0] > 5.4 and sum(losses[-20:]) / 20 < 2.8
    assert (tmp_path / "curves.png").exists() or not has_matplotlib()
    head, rows = results.read(tmp_path / "losses.tsv")
    assert (head["commit"], head["dtype"], head["agree"]) == ("abc", result["dtype"], "True")
    assert [float(row["torch"]) for row in rows] == pytest.approx(result["torch"]["losses"], rel=1e-5)


def has_matplotlib() -> bool:
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def transposed(h_in, h_post, h_res):
    return h_in, h_post, h_res.transpose(-1, -2)


def with_one_percent_less(h_in, h_post, h_res):
    return h_in, 0.99 * h_post, h_res


def without_gradients_of_the_projection(h_in, h_post, h_res):
    return h_in, h_post.detach(), h_res.detach()


@pytest.mark.parametrize("fault", [transposed, with_one_percent_less, without_gradients_of_the_projection])
def test_a_fault_leaves_the_band_on_the_cpu(fault, monkeypatch, capsys):
    right = gpt.PlainPre.forward
    monkeypatch.setattr(gpt.PlainPre, "forward", lambda self, x: fault(*right(self, x)))
    status, result = run(train_text, [*TINY, "cpu", "--steps", "15"], capsys)
    assert status == 1 and not result["agree"]


def test_a_training_goes_on_bit_for_bit(device, monkeypatch, capsys, tmp_path):
    arguments = [*TINY, device, "--steps", "8", "--checkpoint"]
    _, want = run(train_text, [*arguments, str(tmp_path / "whole.pt")], capsys)
    step, steps = gpt.Training.step, []

    def interrupted_step(self: gpt.Training, tokens: torch.Tensor) -> None:
        steps.append(self.implementation)
        if len(steps) == 7:  # the first of a step's two models
            signal.raise_signal(signal.SIGINT)
        step(self, tokens)

    checkpoint = tmp_path / "interrupted.pt"
    with monkeypatch.context() as patched:
        patched.setattr(gpt.Training, "step", interrupted_step)
        assert train_text.main([*arguments, str(checkpoint)]) == 130
    assert steps == ["mhcjit", "torch"] * 4
    status, result = run(train_text, [*arguments, str(checkpoint), "--resume"], capsys)
    assert status == 0
    for implementation in ("mhcjit", "torch"):
        for what in ("losses", "digest"):
            assert result[implementation][what] == want[implementation][what]
    with pytest.raises(SystemExit, match="another training"):
        train_text.main([*arguments, str(checkpoint), "--resume", "--seed", "1"])


def test_usage_says_where_text_comes_from(capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        train_text.main(["--text", str(tmp_path / "missing")])
    assert caught.value.code == 2
    assert "apt-get install bible-kjv" in capsys.readouterr().err


def test_padded_rows_change_nothing(device, capsys, tmp_path):
    checkpoint = str(tmp_path / "tiny.pt")
    run(train_text, [*TINY, device, "--steps", "2", "--checkpoint", checkpoint], capsys)
    table = tmp_path / "times.tsv"
    arguments = [*TEXT, "--device", device, "--checkpoint", checkpoint, "--sequences", "5", "--results", str(table)]
    status, result = run(serve, arguments, capsys)
    assert status == 0 and result["differing"] == {"zeros again": 0, "NaN": 0}
    head, rows = results.read(table)
    assert head["passed"] == "True" and [row["rows"] for row in rows] == ["1", "2", "4", "8"]
    ways = ["eager", "graph"] if device == "cuda" else ["eager"]
    assert list(result["microseconds"]) == [f"{name}, {way}" for name in ("mhcjit", "torch") for way in ways]


def test_serving_finds_rows_that_depend_on_one_another(monkeypatch, capsys):
    forward = gpt.MLP.forward
    monkeypatch.setattr(gpt.MLP, "forward", lambda self, h: forward(self, h) + h.mean())
    status, result = run(serve, [*TINY, "cpu", "--sequences", "3"], capsys)
    assert status == 1 and result["differing"]["NaN"] > 0 == result["differing"]["zeros again"]


def test_serving_finds_bits_that_differ_from_call_to_call(monkeypatch, capsys):
    forward = gpt.MLP.forward
    monkeypatch.setattr(gpt.MLP, "forward", lambda self, h: forward(self, h) + torch.rand(()))
    status, result = run(serve, [*TINY, "cpu", "--sequences", "3"], capsys)
    assert status == 1 and result["differing"]["zeros again"] > 0


def ranks(arguments: list[str]) -> dict:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(EXAMPLES / "ddp.py"), *arguments, "--json"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def test_two_ranks_have_the_same_gradients_on_the_cpu():
    result = ranks([*TINY, "cpu", "--steps", "5"])
    assert result["gradients compared"] == 10 and result["passed"]


@pytest.mark.skipif(torch.__version__ < (2, 6), reason="FSDP2 needs torch 2.6")
def test_two_ranks_share_the_parameters_on_the_cpu():
    assert ranks([*TINY, "cpu", "--steps", "3", "--dtype", "bf16", "--fsdp"])["passed"]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one CUDA device: this shows nothing of two")
@pytest.mark.parametrize("way", [[], ["--fsdp"]], ids=["ddp", "fsdp"])
def test_two_gpus(way):
    assert ranks([*TINY, "cuda", "--steps", "30", *way])["passed"]
