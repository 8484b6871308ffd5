"""Commands: complete files, or a one-line error message and no partial file."""

from __future__ import annotations

import errno
import functools
import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command_line import block_matplotlib, command, names, sentence
from tests.support.official_format import archive as build_archive
from tests.support.official_format import draw_batches, python_version_files
from tinygrad_cifar.cli import main
from tinygrad_cifar.cli.check import CHECKED
from tinygrad_cifar.cli.settings import complete_settings
from tinygrad_cifar.course.model_files import load_model
from tinygrad_cifar.course.settings import OLD_NAMES, SETTINGS
from tinygrad_cifar.data import fetch, load_dataset
from tinygrad_cifar.engine.primitives import PRIMITIVES
from tinygrad_cifar.experiments import report_checks as checks
from tinygrad_cifar.nn import functional
from tinygrad_cifar.system.blas import runtime
from tinygrad_cifar.system.checkpoints import load_checkpoint, save_checkpoint
from tinygrad_cifar.system.locks import exclusive_lock

SMALL = ["--train-batches", "1", "--train-size", "300", "--validation-batch", "2", "--no-figures"]
FIGURES = {"loss.png", "accuracy.png", "learning_rate.png", "weights.png", "confusion.png"}
FILES = {"result.json", "history.csv", "parameters.npz"}


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    for name, content in python_version_files(draw_batches(40)).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "cifar-10-batches-py"


def train(out: Path, *options: str, model: str = "softmax", small: bool = True) -> int:
    return main(["train", model, "--out", str(out), "--epochs", "2", *(SMALL if small else []), *options])


def result(out: Path) -> dict[str, Any]:
    figures: dict[str, Any] = json.loads((out / "result.json").read_text())
    return figures


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"the process never said {text!r}")


# -- results of a run --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["softmax", "svm", "two-layer", "perceptron"])
def test_every_model_trains(model: str, tmp_path: Path) -> None:
    assert train(tmp_path, model=model) == 0
    assert names(tmp_path) == FILES
    assert result(tmp_path)["test_accuracy"] > 0.1


def test_the_default_run_is_better_than_a_linear_model_and_writes_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "two-layer", "--out", str(tmp_path / "a/b"), "--epochs", "6"]) == 0
    assert names(tmp_path / "a/b") == FILES | FIGURES
    assert all((tmp_path / "a/b" / name).read_bytes().startswith(b"\x89PNG") for name in FIGURES)
    assert result(tmp_path / "a/b")["test_accuracy"] > 0.6
    output = capsys.readouterr()
    assert output.err == ""
    assert max(map(len, output.out.splitlines())) <= 80 + len(str(tmp_path))


def test_the_weights_of_whitened_features_are_drawn_as_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = [option for option in SMALL if option != "--no-figures"]
    options = ("--preprocessing", "whiten", "--components", "20", "--q", "0.5")
    assert train(tmp_path, *small, *options, small=False) == 0
    assert names(tmp_path) == FILES | FIGURES
    assert main(["evaluate", str(tmp_path / "parameters.npz")]) == 0
    assert f"{result(tmp_path)['test_accuracy']:.2%}" in capsys.readouterr().out


def test_statistics_of_the_layers_are_stored_and_drawn(tmp_path: Path) -> None:
    small = [option for option in SMALL if option != "--no-figures"]
    assert train(tmp_path, *small, "--layer-statistics", model="perceptron", small=False) == 0
    assert names(tmp_path) == FILES | FIGURES | {"layers.png"}
    header, *rows = (tmp_path / "history.csv").read_text().splitlines()
    assert "layers.0_activation_zeros" in header.split(",")
    assert len(rows) == 3


def test_the_printed_metrics_are_those_in_the_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    printed = {line.split()[0]: line.split()[1] for line in capsys.readouterr().out.splitlines() if "%" in line}
    for part in ("train", "validation", "test"):
        assert printed[part] == f"{result(tmp_path)[f'{part}_accuracy']:.2%}"


def test_the_header_comes_before_the_images_are_whitened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tinygrad_cifar.cli.train.prepare", _interrupted)
    assert train(tmp_path / "out", "--preprocessing", "whiten") == 130
    output = capsys.readouterr().out
    assert "300 training, 2000 validation" in output
    assert output.endswith("whitening the images ...\n")


def _interrupted(*_: Any) -> None:
    raise KeyboardInterrupt


def test_other_settings_are_refused_before_the_preprocessing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    capsys.readouterr()
    monkeypatch.setattr("tinygrad_cifar.cli.train.prepare", _interrupted)
    assert train(tmp_path, "--resume", "--lam", "0.5") == 1
    assert "its --lam was 0.01 and is 0.5 now" in sentence(capsys)


def test_the_header_fits_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--hidden", *["10"] * 9, "--flip", "--shift", "3", "--warm-up", "2", "--dropout", "0.25", "--q", "0.5")
    assert train(tmp_path, *options, model="perceptron") == 0
    assert main(["evaluate", str(tmp_path)]) == 0
    output = capsys.readouterr().out.replace(str(tmp_path), "")
    assert "warm-up 2," in output
    assert max(map(len, output.splitlines())) <= 80


def test_the_data_is_named(tmp_path: Path, cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path / "a")
    assert "not CIFAR-10" in capsys.readouterr().out
    assert result(tmp_path / "a")["data"]["name"] == "built-in shapes (not CIFAR-10)"
    main(["train", "softmax", "--data", str(cifar), "--out", str(tmp_path / "b"), "--epochs", "1", "--no-figures"])
    output = capsys.readouterr().out
    assert "CIFAR-10 format, not the official files: 180 training, 20 validation, 40" in output
    assert "CIFAR-10 format, not the official files, " in output.rpartition("accuracy")[2]
    assert result(tmp_path / "b")["data"]["name"] == "CIFAR-10 format, not the official files"


def test_one_line_per_measurement_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, "--batch-size", "50", "--measure-every", "4")  # 12 steps, and the untrained model
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert [line.split()[1] for line in lines] == ["0/12", "4/12", "8/12", "12/12"]
    assert len((tmp_path / "history.csv").read_text().splitlines()) == 1 + len(lines)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs pseudo-terminals")
def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    pytest.importorskip("tqdm")
    mine, its = os.openpty()
    process = command("train", "softmax", "--out", str(tmp_path), "--epochs", "2", *SMALL, stderr=its)
    os.close(its)
    shown = b""
    try:
        while chunk := os.read(mine, 4096):
            shown += chunk
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(mine)
    output = process.communicate()[0]
    assert b"6/6" in shown
    assert b"accuracy=" in shown
    assert "step " not in output
    assert "test " in output


def test_lines_on_a_terminal_without_tqdm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert train(tmp_path) == 0
    assert "step 0/6" in capsys.readouterr().out


def test_without_matplotlib_the_message_says_how_to_install_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    block_matplotlib(monkeypatch)
    assert train(tmp_path, "--train-batches", "1", "--validation-size", "100", small=False) == 0
    assert names(tmp_path) == FILES
    assert "pip install matplotlib" in capsys.readouterr().out


def test_half_a_cycle_is_half_the_run_by_default(tmp_path: Path) -> None:
    train(tmp_path / "a", "--batch-size", "10", model="two-layer")
    train(tmp_path / "b", "--batch-size", "10", "--n-s", "7", model="two-layer")
    assert result(tmp_path / "a")["settings"]["n_s"] == 30
    assert result(tmp_path / "b")["settings"]["n_s"] == 7


@pytest.mark.parametrize(("growth", "half"), [("1", 10), ("2", 4)])
def test_counted_cycles_fill_the_run_by_default(tmp_path: Path, growth: str, half: int) -> None:
    options = ("--batch-size", "10", "--cycles", "3", "--cycle-growth", growth)
    assert train(tmp_path, *options, model="two-layer") == 0
    assert (result(tmp_path)["steps"], result(tmp_path)["settings"]["n_s"]) == (60, half)


@pytest.mark.parametrize(
    ("options", "flip"),
    [((), False), (("--flip",), True), (("--flip", "alternate"), "alternate"), (("--no-flip",), False)],
)
def test_flip_may_name_its_form(tmp_path: Path, options: tuple[str, ...], flip: object) -> None:
    assert train(tmp_path, *options) == 0
    assert result(tmp_path)["settings"]["flip"] == flip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--flip", "twice"), "--flip must have no value, or be alternate; got 'twice'"),
        (("--no-flip", "alternate"), "--no-flip must have no value; got 'alternate'"),
        (("--smoothing", "0.1", "--q", "0.5"), "--smoothing 0.1 needs the cross-entropy, not --q 0.5"),
        (("--border", "reflect"), "--border reflect needs a --shift greater than 0, or --views six or fifty"),
        (("--cycles", "2", "--schedule", "cosine"), "--cycles 2 needs --schedule triangular, not cosine"),
        (("--clip-norm", "0"), "--clip-norm must be greater than 0; got 0"),
        (("--filters", "3"), "--filters 3 needs the model patchify, not softmax"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert train(tmp_path, *options) == 2
    assert message in sentence(capsys)


def test_patchify_is_trained_checked_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--filter-size", "16", "--filters", "3", "--views", "six", "--cycles", "1")
    assert train(tmp_path, *options, model="patchify") == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path)]) == 0
    assert f"accuracy {result(tmp_path)['test_accuracy']:.2%}" in capsys.readouterr().out


def test_convnet_is_trained_and_evaluated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--hidden", "2", "3", "--depth", "1", "--batch-size", "50", "--train-size", "100")
    assert train(tmp_path, *options, model="convnet") == 0
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path)]) == 0
    assert f"accuracy {result(tmp_path)['test_accuracy']:.2%}" in capsys.readouterr().out


# -- resuming ----------------------------------------------------------------------------------------------------------

# Commands that are partly run in this process, whose results depend on its number of BLAS threads.
THREADS = ["--threads", str(runtime().threads or 1)]
LONG = ["--train-size", "600", "--epochs", "25", "--no-figures", "--flip", "--patience", "20", *THREADS]


def test_a_killed_run_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole, killed = str(tmp_path / "whole"), str(tmp_path / "killed")
    process = command("train", "two-layer", "--out", killed, *LONG)
    with process:
        read_until(process, "epoch 2 ")
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert "checkpoint.npz" in names(Path(killed))
    assert main(["train", "two-layer", "--out", killed, *LONG, "--resume"]) == 0
    assert main(["train", "two-layer", "--out", whole, *LONG]) == 0
    for name in ("parameters.npz", "history.csv"):
        assert (Path(killed) / name).read_bytes() == (Path(whole) / name).read_bytes()
    first, second = result(Path(whole)), result(Path(killed))
    assert first | {"seconds": 0} == second | {"seconds": 0}
    assert names(Path(killed)) == FILES


def test_ctrl_c_says_how_to_continue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = command("train", "two-layer", "--out", str(tmp_path), *LONG)
    with process:
        read_until(process, "epoch 1 ")
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 130
    assert error.startswith("tinygrad-cifar: stopped")
    assert "--resume" in error
    assert error.count("\n") == 1
    assert names(tmp_path) == {"checkpoint.npz"}
    assert main(["train", "two-layer", "--out", str(tmp_path), *LONG]) == 1
    assert "--resume" in sentence(capsys)
    assert main(["train", "two-layer", "--out", str(tmp_path), *LONG, "--resume"]) == 0
    assert names(tmp_path) == FILES


def interrupt_after_two_epochs(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave an unfinished run, as if the disk were full at the end of the second epoch."""
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after=2)
        assert train(out) == 1


def fill_the_disk(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    calls = 0

    def fsync(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls > after:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--lam", "0.5"], "its --lam was 0.01 and is 0.5 now"),
        (["--epochs", "3"], "its --epochs was 2 and is 3 now"),
        (["--seed", "1"], "its --seed was 0 and is 1 now"),
        (["--train-size", "200"], "its --train-size was 300 and is 200 now"),
    ],
)
@pytest.mark.parametrize("finished", [False, True])
def test_other_settings_are_not_resumed(
    option: list[str],
    words: str,
    finished: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if finished:
        train(tmp_path)
    else:
        interrupt_after_two_epochs(tmp_path, monkeypatch)
    before = names(tmp_path)
    capsys.readouterr()
    assert train(tmp_path, "--resume", *option) == 1
    assert f"{words}; give the same options, or --overwrite to start again" in sentence(capsys)
    assert names(tmp_path) == before


def test_other_data_is_not_resumed(
    tmp_path: Path, cifar: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["--train-batches", "1", "--train-size", "30", "--batch-size", "10"]
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after=2)
        train(tmp_path / "run", *options)
    capsys.readouterr()
    assert train(tmp_path / "run", *options, "--data", str(cifar), "--resume") == 1
    assert "data was built-in shapes (not CIFAR-10)" in sentence(capsys)


def test_a_run_that_cannot_start_replaces_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(tmp_path) == 0
    capsys.readouterr()
    monkeypatch.setattr("tinygrad_cifar.course.memory_check.available_bytes", lambda: 10_000_000)
    assert train(tmp_path, "--overwrite", "--hidden", "2", "2", "--batch-size", "100", model="convnet") == 2
    assert "of memory" in sentence(capsys)
    assert names(tmp_path) == FILES


def test_another_model_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    capsys.readouterr()
    assert train(tmp_path, "--resume", model="svm") == 1
    assert "model was softmax and is svm now" in sentence(capsys)


def test_a_damaged_checkpoint_is_not_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    capsys.readouterr()
    content = (tmp_path / "checkpoint.npz").read_bytes()
    (tmp_path / "checkpoint.npz").write_bytes(content[: len(content) // 2])
    for option in (["--resume"], []):
        assert train(tmp_path, *option) == 1
        error = sentence(capsys)
        assert "checkpoint.npz is not a complete checkpoint" in error
        assert error.rstrip().endswith("delete the folder, or replace the run with --overwrite")


@pytest.mark.parametrize("option", [["--resume"], []])
def test_a_checkpoint_of_another_kind_is_not_to_be_deleted(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(tmp_path / "checkpoint.npz", {"W": np.zeros(3)}, {})
    assert train(tmp_path, *option) == 1
    assert sentence(capsys).rstrip().endswith("choose another --out, or replace it with --overwrite")


def test_resuming_a_finished_run_reports_its_metrics(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    table = capsys.readouterr().out.split("\n\n")[1]
    assert train(tmp_path, "--resume") == 0
    output = capsys.readouterr().out
    assert "finished" in output
    assert table in output


def test_a_finished_run_is_only_overwritten_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    capsys.readouterr()
    assert train(tmp_path, "--seed", "1") == 1
    assert "--overwrite" in sentence(capsys)
    assert result(tmp_path)["settings"]["seed"] == 0
    assert train(tmp_path, "--seed", "1", "--overwrite") == 0
    assert result(tmp_path)["settings"]["seed"] == 1


def test_resuming_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path / "run", "--resume") == 1
    assert "not contain a run to resume" in sentence(capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("how", [[], ["--resume"], ["--overwrite"]])
def test_two_processes_do_not_train_in_one_folder(
    how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with exclusive_lock(tmp_path):
        assert train(tmp_path, *how) == 1
        assert "is locked by another process" in sentence(capsys)
    assert names(tmp_path) == set()


def test_the_second_of_two_commands_fails_and_the_first_continues(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = command("train", "two-layer", "--out", str(tmp_path), *LONG)
    with process:
        read_until(process, "epoch 1 ")
        assert main(["train", "two-layer", "--out", str(tmp_path), *LONG, "--overwrite"]) == 1
        assert process.poll() is None
        process.communicate()
    assert process.returncode == 0
    assert "is locked by another process" in sentence(capsys)
    assert names(tmp_path) == FILES


def test_two_processes_do_not_reproduce_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    with exclusive_lock(tmp_path):
        assert main(["reproduce", "000-softmax", "--out", str(tmp_path)]) == 1
        assert "is locked by another process" in sentence(capsys)
    assert names(tmp_path) == set()


# -- invalid input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        *(["--eta", value] for value in ("nan", "inf", "-1", "x", "")),
        *(["--epochs", value] for value in ("0", "-3", "1.5", "1e3")),
        *(["--batch-size", value] for value in ("0", "1000000000")),
        *(["--hidden", value] for value in ("5", "0", "-1")),
        *(["--seed", value] for value in ("-1", "9" * 30, "9" * 5000)),
        *(["--train-batches", *values] for values in (["6"], ["0"], ["1", "1"])),
        *(["--validation-batch", value] for value in ("1", "9")),
        *(["--train-size", value] for value in ("0", "9999999")),
        *(["--validation-size", value] for value in ("-1", "10", "9999999")),
        *(["--momentum", value] for value in ("1", "-0.1", "nan")),
        *(["--shift", value] for value in ("-1", "32")),
        *(["--cutout", value] for value in ("-1", "33")),
        ["--lam", "-1"],
        ["--lam", "nan"],
        ["--patience", "0"],
        ["--measure-every", "0"],
        ["--dropout", "0.5"],
        ["--decay", "0.9"],
        ["--eta-min", "1"],
        ["--n-s", "0"],
        ["--warm-up", "-1"],
        ["--optimiser", "nesterov"],
        ["--optimiser", "magic"],
        ["--schedule", "magic"],
        ["--preprocessing", "magic"],
        ["--nonsense"],
        ["--epoch", "2"],  # abbreviations are not accepted, since later options could change their meaning
        ["surplus"],
        ["--data", "no such folder"],
        ["--resume", "--overwrite"],
    ],
)
def test_invalid_options_are_refused_in_one_line(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", *options) == 2
    assert sentence(capsys).startswith("tinygrad-cifar: error: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        (["--n-s", "10"], ["--n-s", "--schedule cosine"]),
        (["--eta-min", "0.001", "--schedule", "constant"], ["--eta-min", "--schedule constant"]),
        (["--sigma", "0.1", "--init", "he"], ["--sigma", "--init he"]),
        (["--components", "100"], ["--components", "--preprocessing standardise"]),
        (["--activation", "relu"], ["--activation", "model softmax"]),
        (["--schedule", "step", "--n-s", "2"], ["--schedule step", "--decay"]),
    ],
)
def test_options_without_effect_are_refused_by_name(
    options: list[str], names: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", *options) == 2
    error = sentence(capsys)
    assert all(name in error for name in names)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", [["--init", "he"], ["--sigma", "0.1"]])
def test_the_initialisation_of_a_convnet_cannot_be_chosen(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path / "run", *option, model="convnet") == 2
    assert f"{option[0]} has no effect with the model convnet" in sentence(capsys)


@pytest.mark.parametrize(
    ("given", "default"),
    [
        ({"shift": 0}, {"border": "edge"}),
        ({"q": 0.3}, {"smoothing": 0.0}),
        ({"loss": "binary-cross-entropy"}, {"smoothing": 0.0}),
    ],
)
def test_given_settings_of_a_convnet_do_not_contradict_its_defaults(
    given: dict[str, Any], default: dict[str, Any]
) -> None:
    settings = asdict(complete_settings("convnet", given, [2000] * 5))
    assert {name: settings[name] for name in default} == default


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("model", ["svm", "perceptron"])
@pytest.mark.parametrize(
    "options",
    [
        *(["--lam", value] for value in ("1e30", "1e-320")),
        *(["--sigma", value, "--init", "normal"] for value in ("1e30", "1e-320")),
        *(["--eta", value] for value in ("1e308", "1e-320")),
        ["--schedule", "exponential", "--decay", "1e308"],
        ["--schedule", "cosine", "--eta", "1e308", "--eta-min", "1e308"],
        ["--optimiser", "adam", "--eta", "1e308"],
    ],
    ids=" ".join,
)
def test_an_extreme_value_trains_or_diverges_without_a_warning(
    options: list[str], model: str, dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = train(tmp_path / "run", *options, "--dtype", dtype, "--batch-size", "50", model=model)
    error = capsys.readouterr().err
    assert status == (1 if error else 0)
    assert error == "" or "try " in error


OLD_OPTIONS = {"pixels": "scale", "first": "5", "held-out": "5", "every": "2"}


@pytest.mark.parametrize(("old", "value"), OLD_OPTIONS.items())
def test_an_option_that_was_renamed_is_refused_with_its_new_name(
    old: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = OLD_NAMES[old.replace("-", "_")].replace("_", "-")
    assert train(tmp_path / "run", f"--{old}", value) == 2
    assert f"--{old} is now --{new} " in sentence(capsys)
    assert main(["search", "softmax", "--vary", f"{old}=grid:{value}", "--out", str(tmp_path / "search")]) == 2
    assert f"is now {OLD_NAMES[old.replace('-', '_')]} " in sentence(capsys)
    assert not names(tmp_path)


def test_a_checkpoint_of_another_version_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    arrays, metadata = load_checkpoint(tmp_path / "checkpoint.npz")
    del metadata["version"]
    save_checkpoint(tmp_path / "checkpoint.npz", arrays, metadata)
    capsys.readouterr()
    assert train(tmp_path, "--resume") == 1
    error = sentence(capsys)
    assert "another version of this library has written" in error
    assert "--overwrite" in error


def test_an_old_checkpoint_is_refused_with_the_names_that_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    arrays, metadata = load_checkpoint(tmp_path / "checkpoint.npz")
    metadata["identity"]["pixels"] = metadata["identity"].pop("preprocessing")
    save_checkpoint(tmp_path / "checkpoint.npz", arrays, metadata)
    capsys.readouterr()
    assert train(tmp_path, "--resume") == 1
    assert "renamed since it was written (pixels is now preprocessing)" in sentence(capsys)


def test_an_old_result_and_an_old_model_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    written = result(tmp_path)
    arrays, metadata = load_checkpoint(tmp_path / "parameters.npz")
    for settings in (written["settings"], metadata["settings"]):
        for old, new in OLD_NAMES.items():
            settings[old] = settings.pop(new)
        for name in [name for name, declared in SETTINGS.items() if declared.was_added]:
            del settings[name]
    save_checkpoint(tmp_path / "parameters.npz", arrays, metadata)
    (tmp_path / "result.json").write_text(json.dumps(written))
    capsys.readouterr()
    assert train(tmp_path, "--resume") == 0
    assert main(["evaluate", str(tmp_path)]) == 0
    assert f"accuracy {written['test_accuracy']:.2%}" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["nonsense"], ["train"], ["train", "magic", "--out", "x"], ["check", "magic"]])
def test_unknown_commands_are_refused_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert "--help" in sentence(capsys)


def test_damaged_data_is_refused(tmp_path: Path, cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = (cifar / "data_batch_3").read_bytes()
    (cifar / "data_batch_3").write_bytes(content[:-100])
    assert train(tmp_path / "run", "--data", str(cifar)) == 1
    assert "data_batch_3" in sentence(capsys)
    assert not (tmp_path / "run").exists()


def test_the_output_must_not_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert train(out) == 2
        assert f"--out must be a folder, and {tmp_path / 'file'} is not one" in sentence(capsys)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_the_folder_must_be_writable(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert train(tmp_path / "below") == 2
    assert "--out must be a folder to write to" in sentence(capsys)


@pytest.mark.parametrize("after", range(6))  # three checkpoints, the parameters, the history, the result
def test_a_full_disk_leaves_no_partial_file(
    after: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after)
        assert train(tmp_path) == 1
    assert "No space left on device" in sentence(capsys)
    left = names(tmp_path)
    assert left <= {"checkpoint.npz", "parameters.npz", "history.csv"}
    assert ("checkpoint.npz" in left) == (after > 0)
    assert train(tmp_path, *(["--resume"] if after else [])) == 0
    assert names(tmp_path) == FILES


MINE = ("loss.png", "history.csv", "parameters.npz", "confusion.png")


@pytest.mark.parametrize("name", MINE)
def test_a_file_of_the_user_is_not_replaced_without_being_asked(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_text("mine")
    small = [option for option in SMALL if option != "--no-figures"]
    with monkeypatch.context() as patch:
        patch.setattr("tinygrad_cifar.data.builtin_dataset", _interrupted)  # it is noticed before the data is loaded
        assert train(tmp_path, *small, small=False) == 1
    error = sentence(capsys)
    assert f"does not contain a run, but {name}, which the run would replace" in error
    assert "--overwrite" in error
    assert (tmp_path / name).read_text() == "mine"
    assert names(tmp_path) == {name}
    assert train(tmp_path, "--overwrite") == 0  # without figures, of which none is in the way
    assert names(tmp_path) == FILES | ({name} & FIGURES)


def test_a_run_that_replaces_figures_of_the_user_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loss.png").write_text("mine")
    small = [option for option in SMALL if option != "--no-figures"]
    with monkeypatch.context() as patch:
        fill_the_disk(patch, after=2)
        assert train(tmp_path, *small, "--overwrite", small=False) == 1
    assert names(tmp_path) == {"checkpoint.npz"}
    capsys.readouterr()
    assert train(tmp_path, *small, "--resume", small=False) == 0
    assert names(tmp_path) == FILES | FIGURES


def test_a_folder_in_the_place_of_a_file_is_noticed_before_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "history.csv").mkdir()
    assert train(tmp_path, "--overwrite") == 1
    assert "history.csv is a folder" in sentence(capsys)


def test_a_figure_of_the_user_stays_beside_a_run_without_figures(tmp_path: Path) -> None:
    (tmp_path / "loss.png").write_text("mine")
    assert train(tmp_path) == 0
    assert names(tmp_path) == {*FILES, "loss.png"}
    assert (tmp_path / "loss.png").read_text() == "mine"


def test_a_figure_of_the_user_in_the_folder_of_an_unfinished_run_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    capsys.readouterr()
    (tmp_path / "loss.png").write_text("mine")
    small = [option for option in SMALL if option != "--no-figures"]
    assert train(tmp_path, *small, "--resume", small=False) == 1
    assert "loss.png" in sentence(capsys)
    assert (tmp_path / "loss.png").read_text() == "mine"


def test_partial_files_of_a_killed_run_are_deleted(tmp_path: Path) -> None:
    (tmp_path / ".checkpoint.npz.x1.part").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("mine")
    train(tmp_path)
    assert names(tmp_path) == {*FILES, "notes.txt"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_run_that_diverges_names_the_step(dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--eta", "1e200", "--schedule", "constant", "--dtype", dtype, "--batch-size", "10"]
    assert train(tmp_path, *options, model="two-layer") == 1
    error = sentence(capsys)
    assert "at step " in error
    assert error.endswith("try a smaller learning rate, with --overwrite to start again\n")
    assert names(tmp_path) == {"checkpoint.npz"}
    with np.load(tmp_path / "checkpoint.npz") as kept:
        assert all(np.isfinite(kept[name]).all() for name in kept.files)


def test_the_table_says_that_training_images_are_measured_with_one_view(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "one")
    assert "\ntrain " in capsys.readouterr().out
    train(tmp_path / "two", "--views", "mirror")
    assert "\ntrain, one view " in capsys.readouterr().out


@pytest.mark.parametrize("option", [[], ["--resume"]])
def test_a_run_that_diverged_is_not_to_be_resumed(
    option: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--eta", "1e200", "--schedule", "constant", "--batch-size", "10"]
    train(tmp_path, *options, model="two-layer")
    capsys.readouterr()
    assert train(tmp_path, *options, *option, model="two-layer") == 1
    error = sentence(capsys)
    assert "contains a run that diverged: " in error
    assert "replace it with --overwrite" in error
    assert "--resume" not in error


def test_a_damaged_checkpoint_can_be_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"half")
    assert train(tmp_path) == 1
    assert "replace the run with --overwrite" in sentence(capsys)
    assert train(tmp_path, "--overwrite") == 0


def test_foreign_files_are_listed_with_commas(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("history.csv", "parameters.npz", "loss.png"):
        (tmp_path / name).write_text("mine")
    small = [option for option in SMALL if option != "--no-figures"]
    assert train(tmp_path, *small, small=False) == 1
    assert "does not contain a run, but history.csv, parameters.npz and loss.png, which" in sentence(capsys)


def test_an_internal_error_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise ZeroDivisionError("an injected\nfault")

    monkeypatch.delenv("TINYGRAD_CIFAR_DEBUG", raising=False)
    monkeypatch.setattr("tinygrad_cifar.data.builtin_dataset", lambda: fail(""))
    assert train(tmp_path) == 1
    assert "unexpected ZeroDivisionError (an injected fault)" in sentence(capsys)
    monkeypatch.setenv("TINYGRAD_CIFAR_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        train(tmp_path)


def test_insufficient_memory_is_reported_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr("tinygrad_cifar.data.builtin_dataset", fail)
    assert train(tmp_path) == 1
    assert "not enough memory" in sentence(capsys)


def test_a_closed_output_pipe_ends_the_command_silently(tmp_path: Path) -> None:
    process = command("train", "softmax", "--out", str(tmp_path), *LONG)
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 141


@pytest.mark.skipif(os.name != "posix", reason="closes streams as a POSIX shell does")
@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_does_not_end_the_command(tmp_path: Path, stream: int) -> None:
    words = [sys.executable, "-m", "tinygrad_cifar", "train", "softmax", "--train-size", "200", "--epochs", "1"]
    line = shlex.join([*words, "--no-figures", "--out", str(tmp_path / "run")])
    done = subprocess.run(f"{line} {stream}>&-", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", [["check", "softmax", "--features", "2"], ["--version"], ["train", "--help"], []])
def test_an_output_that_cannot_be_written_is_reported(words: list[str], unbuffered: bool) -> None:
    environment = os.environ | ({"PYTHONUNBUFFERED": "1"} if unbuffered else {})
    with Path("/dev/full").open("w") as full, command(*words, stdout=full, env=environment) as process:
        error = process.communicate()[1]
    assert process.returncode == 1
    assert error == "tinygrad-cifar: error: the output cannot be written (No space left on device)\n"


# -- the other commands ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_evaluate_repeats_the_result(split: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, model="two-layer")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "parameters.npz"), "--split", split]) == 0
    output = capsys.readouterr().out
    figures = result(tmp_path)
    assert f"accuracy {figures[f'{split}_accuracy']:.2%}, loss {figures[f'{split}_loss']:.4f}" in output
    assert "built-in shapes (not CIFAR-10)" in output
    assert max(map(len, output.splitlines())) <= 80


def test_evaluate_takes_the_folder_of_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    outputs = []
    for place in (tmp_path, tmp_path / "parameters.npz"):
        capsys.readouterr()
        assert main(["evaluate", str(place)]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1]


def test_evaluate_of_several_runs_shows_their_ensemble(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [Path("a"), Path("b")]
    train(folders[0])
    train(folders[1], "--preprocessing", "standardise", model="two-layer")
    capsys.readouterr()
    assert main(["evaluate", *map(str, folders)]) == 0
    output = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in output.splitlines() if "%" in line}
    images, probabilities = load_dataset("builtin").test, []
    for folder in folders:
        figures, trained = result(folder), load_model(folder / "parameters.npz")
        assert rows.pop(str(folder)) == [f"{figures['test_accuracy']:.2%}", f"{figures['test_loss']:.4f}"]
        X = trained.preprocessing.apply(images.images, np.dtype(trained.settings.dtype))
        probabilities.append(functional.softmax(trained.model(X).data))
    mean = np.mean(probabilities, axis=0)
    loss = -np.log(mean[np.arange(len(images)), images.labels]).mean()
    assert rows == {"ensemble": [f"{np.mean(np.argmax(mean, axis=1) == images.labels):.2%}", f"{loss:.4f}"]}


@pytest.mark.parametrize("name", ["", "parameters.npz", "copy.npz"])
def test_evaluate_refuses_a_run_that_is_given_twice(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path)
    shutil.copy(tmp_path / "parameters.npz", tmp_path / "copy.npz")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path), str(tmp_path / name)]) == 1
    assert "are the same run, or copies of it" in sentence(capsys)


def test_an_ensemble_has_no_run_without_softmax_probabilities(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [tmp_path / name for name in "ab"]
    train(folders[0])
    train(folders[1], model="svm")
    capsys.readouterr()
    assert main(["evaluate", *map(str, folders)]) == 1
    assert "was trained with another loss than the cross-entropy" in sentence(capsys)


def test_evaluate_refuses_runs_with_other_validation_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / name for name in "ab"]
    train(folders[0])
    train(folders[1], "--train-batches", "1", "--validation-batch", "3", "--no-figures", small=False)
    capsys.readouterr()
    assert main(["evaluate", *map(str, folders), "--split", "validation"]) == 1
    assert "are not those of" in sentence(capsys)


def test_evaluate_of_a_folder_without_a_run_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "does not contain a run, since it has no parameters.npz" in sentence(capsys)


def test_the_confusion_matrix_counts_every_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path)
    capsys.readouterr()
    main(["evaluate", str(tmp_path / "parameters.npz")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-10:]]
    counts = np.array([[int(count) for count in row[-10:]] for row in rows])
    assert (counts.sum(axis=1) == 200).all()
    assert counts.trace() / counts.sum() == pytest.approx(result(tmp_path)["test_accuracy"])


def test_evaluate_refuses_data_with_other_classes(
    tmp_path: Path, cifar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "parameters.npz"), "--data", str(cifar)]) == 1
    assert "classes" in sentence(capsys)


def test_evaluate_requires_the_data_of_the_run_for_its_split(
    tmp_path: Path, cifar: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["train", "svm", "--data", str(cifar), "--out", str(tmp_path / "run"), "--epochs", "1", "--no-figures"])
    (cifar / "data_batch_1").write_bytes((cifar / "data_batch_2").read_bytes())
    parameters = str(tmp_path / "run" / "parameters.npz")
    capsys.readouterr()
    assert main(["evaluate", parameters, "--data", str(cifar)]) == 0
    capsys.readouterr()
    assert main(["evaluate", parameters, "--data", str(cifar), "--split", "train"]) == 1
    assert "trained on other data" in sentence(capsys)


@pytest.mark.parametrize("content", [b"", b"PK", b"nonsense" * 100])
def test_evaluate_refuses_files_that_are_not_models(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "parameters.npz"
    path.write_bytes(content)
    assert main(["evaluate", str(path)]) == 1
    assert "parameters.npz" in sentence(capsys)


def test_evaluate_refuses_a_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "checkpoint.npz")]) == 1
    assert "not a trained model" in sentence(capsys)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Check report 003 with 3 of its 29 draws; the tests of the checks have all of them."""
    monkeypatch.setattr(checks, "_DRAWS", 3)


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("model", CHECKED)
def test_check_passes(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", model, "--features", "12"]) == 0
    output = capsys.readouterr().out
    reports = ["Report 002", "Report 003", "Report 000", "Report 004"]
    assert [line.split(":")[0] for line in output.splitlines() if line.startswith("Report")] == (
        reports if model in checks.KINDS else []
    )
    assert "EXCEEDED" not in output
    assert "\nAll gradients are right.\n" in output
    assert max(map(len, output.splitlines())) <= 80


def test_check_fails_if_a_gradient_is_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = checks.grad
    monkeypatch.setattr(checks, "grad", lambda *given: [gradient * 1.001 for gradient in right(*given)])
    assert main(["check", "softmax", "--features", "12"]) == 1
    output = capsys.readouterr()
    assert "EXCEEDED" in output.out
    assert output.err == ""


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("model", [CHECKED[0], *(pytest.param(model, marks=pytest.mark.slow) for model in CHECKED[1:])])
def test_check_fails_if_a_vjp_is_wrong(
    model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vjp = PRIMITIVES["matmul"].vjps["y"]
    right = vjp.apply
    monkeypatch.setattr(vjp, "apply", lambda *given: 1.001 * right(*given))
    assert main(["check", model, "--features", "12"]) == 1
    output = capsys.readouterr().out
    assert "WRONG in" in output
    assert "NOT all gradients are right." in output
    assert max(map(len, output.splitlines())) <= 80


def test_fetch_prints_the_folder_of_the_data(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", str(cifar.parent)]) == 0  # it is there already
    assert str(cifar) in capsys.readouterr().out


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an archive of small files, and let the command expect it."""
    path = tmp_path / "downloads" / "cifar-10-python.tar.gz"
    path.parent.mkdir()
    path.write_bytes(build_archive(python_version_files(draw_batches(2))))
    digest = hashlib.md5(path.read_bytes()).hexdigest()
    expected = {"md5": digest, "size": path.stat().st_size}
    monkeypatch.setattr(fetch, "fetch_cifar10", functools.partial(fetch.fetch_cifar10, **expected))
    monkeypatch.setattr(fetch, "unpack_cifar10", functools.partial(fetch.unpack_cifar10, **expected))
    monkeypatch.setattr(fetch, "MIRRORS", ("http://127.0.0.1:9/nothing",))
    return path


@pytest.fixture
def server(archive: Path) -> Iterator[str]:
    """Return the URL of the archive on a server of this process."""
    handler = functools.partial(QuietHandler, directory=str(archive.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}/{archive.name}"
        http_server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize("as_url", [False, True])
def test_fetch_unpacks_an_archive_of_this_machine(
    as_url: bool, tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = archive.read_bytes()
    assert main(["fetch", str(tmp_path / "data"), "--from", archive.as_uri() if as_url else str(archive)]) == 0
    assert f"--data {tmp_path / 'data' / 'cifar-10-batches-py'}" in capsys.readouterr().out
    assert main(["train", "softmax", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), *TINY]) == 0
    assert archive.read_bytes() == before
    assert names(tmp_path / "data") == {"cifar-10-batches-py"}


TINY = ["--epochs", "1", "--batch-size", "2", "--no-figures", "--validation-size", "2"]


@pytest.mark.parametrize("option", ["--from", "--mirror"])
def test_fetch_downloads_from_a_given_server(
    option: str, tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", str(tmp_path / "data"), option, server]) == 0
    assert "cifar-10-batches-py" in capsys.readouterr().out


def test_a_server_given_as_mirror_is_tried_before_the_others(
    tmp_path: Path, server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MIRRORS", (server,))
    broken = "http://127.0.0.1:9/nothing"
    assert main(["fetch", str(tmp_path / "a"), "--from", broken]) == 1
    assert server not in capsys.readouterr().err
    assert main(["fetch", str(tmp_path / "b"), "--mirror", broken]) == 0


def test_another_file_is_not_unpacked(tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = bytearray(archive.read_bytes())
    content[-1] ^= 1
    archive.write_bytes(content)
    assert main(["fetch", str(tmp_path / "data"), "--from", str(archive)]) == 1
    assert "with the MD5 digest" in sentence(capsys)
    archive.write_bytes(b"short")
    assert main(["fetch", str(tmp_path / "data"), "--from", str(archive)]) == 1
    assert "this file has 5" in sentence(capsys)
    assert names(tmp_path / "data") == set()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--from", "nothing.tar.gz"], "--from must be a file, or a URL"),
        (["--from", "."], "give it to --data"),
        (["--from", "ftp://host/file"], "--from must start with https://"),
        (["--mirror", "host/file"], "--mirror must start with https://"),
        (["--mirror", "http://host/a", "--from", "http://host/a"], "not allowed with"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fetch", str(tmp_path / "data"), *options]) == 2
    assert words in sentence(capsys)
    assert not names(tmp_path)


def test_a_failed_download_says_in_three_lines_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MIRRORS", ("http://127.0.0.1:9/nothing",))
    assert main(["fetch", str(tmp_path / "data")]) == 1
    error, *advice = capsys.readouterr().err.splitlines()
    assert error.startswith("tinygrad-cifar: error: no mirror provided CIFAR-10 (http://127.0.0.1:9/nothing: ")
    assert [any(word in line for word in ("--from", "--mirror", "builtin")) for line in advice] == [True] * 3


def test_fetch_shows_progress_and_can_be_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: str, progress: Any, **__: Any) -> None:
        for megabytes in (0, 1, 85, 86, 170):
            progress(megabytes * 1_000_000, 170_000_000)
        raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "fetch_cifar10", interrupted)
    assert main(["fetch", str(tmp_path)]) == 130
    output = capsys.readouterr()
    assert output.out.split("\n")[:3] == ["   0 of 170 MB", "  85 of 170 MB", " 170 of 170 MB"]
    assert "the same command resumes" in output.err


@pytest.mark.parametrize(("stop", "status"), [((), 130), ((signal.SIGTERM,), 143)], ids=["Ctrl-C", "SIGTERM"])
def test_an_error_of_a_library_that_was_interrupted_is_a_stop(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    stop: tuple[int, ...],
    status: int,
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise RuntimeError("the connection is closed") from KeyboardInterrupt(*stop)

    monkeypatch.setattr(fetch, "fetch_cifar10", interrupted)
    assert main(["fetch", str(tmp_path)]) == status
    assert capsys.readouterr().err == "tinygrad-cifar: stopped\n"


# -- help --------------------------------------------------------------------------------------------------------------


def test_without_arguments_the_help_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    without = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == without
    for name in ("train", "evaluate", "check", "fetch"):
        assert f"    {name}" in without


@pytest.mark.parametrize("name", ["train", "evaluate", "check", "search", "reproduce", "fetch"])
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    assert f"tinygrad-cifar {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name", [[], ["train"], ["evaluate"], ["check"], ["search"], ["reproduce"], ["fetch"]])
def test_help_fits_a_terminal_of_80_columns(
    name: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*name, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_the_list_of_experiments_fits_a_terminal_of_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("003-coarse ") for line in lines)


def test_help_imports_no_slow_module() -> None:
    code = (
        "import sys; from tinygrad_cifar.cli import main; main(['--help']);"
        "sys.exit(bool({'matplotlib', 'tqdm', 'urllib.request', 'ssl'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, stdout=subprocess.DEVNULL).returncode == 0


# -- errors found by students ------------------------------------------------------------------------------------------


def test_a_run_whose_measured_loss_is_not_finite_has_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The parameters are still finite after the last update, and so were the losses before each."""
    assert (
        main(["train", "two-layer", "--eta", "1e4", "--train-size", "300", "--epochs", "2", "--out", str(tmp_path)])
        == 1
    )
    assert "try a smaller learning rate" in sentence(capsys)
    assert not (tmp_path / "result.json").exists()


def test_a_loss_that_is_not_finite_before_training_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(tmp_path, "--sigma", "1e30", "--lam", "0.1") == 1
    assert "before the first step; inputs and targets must be finite: if they are, try smaller" in sentence(capsys)


@pytest.mark.parametrize(
    "words",
    [["train", "softmax", "--out", ""], ["reproduce", "--out", ""], ["reproduce", "--docs", ""], ["fetch", ""]],
    ids=" ".join,
)
def test_a_folder_without_a_name_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "must not be empty; give a folder" in capsys.readouterr().err


def test_evaluate_refuses_an_unfinished_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt_after_two_epochs(tmp_path, monkeypatch)
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path)]) == 1
    assert "is unfinished; rerun its train command with --resume" in sentence(capsys)


def test_evaluate_says_that_a_run_diverged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tmp_path, "--eta", "1e200", "--schedule", "constant", "--batch-size", "10", model="two-layer")
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path)]) == 1
    error = sentence(capsys)
    assert "diverged: " in error
    assert error.rstrip().endswith("rerun its train command with that change and --overwrite")


def test_evaluate_does_not_advise_to_resume_from_a_damaged_checkpoint(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "checkpoint.npz").write_bytes(b"half")
    assert main(["evaluate", str(tmp_path)]) == 1
    error = sentence(capsys)
    assert "checkpoint.npz is not a complete checkpoint" in error
    assert error.rstrip().endswith("rerun its train command with --overwrite")


def test_evaluate_names_a_missing_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "no such")]) == 2
    assert "no such' does not; give the folder that train wrote" in sentence(capsys)


def test_fetch_accepts_the_folder_of_the_data_itself(cifar: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fetch", str(cifar)]) == 0
    assert f"CIFAR-10 is in {cifar}" in capsys.readouterr().out


def test_the_step_schedule_decays_once_by_default(tmp_path: Path) -> None:
    assert train(tmp_path, "--schedule", "step", "--decay", "0.5") == 0
    assert result(tmp_path)["settings"]["n_s"] == result(tmp_path)["steps"] // 2


def test_one_step_and_one_image_are_in_the_singular(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["--train-batches", "1", "--train-size", "1", "--batch-size", "1", "--epochs", "1", "--no-figures"]
    one += ["--preprocessing", "scale"]
    assert main(["train", "softmax", "--out", str(tmp_path), *one]) == 0
    assert ", 1 step in " in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path), "--split", "train"]) == 0
    assert "\n1 train image of " in capsys.readouterr().out
