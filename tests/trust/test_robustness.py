"""Malformed files and killed processes: a sample, or the full number with the profile ``thorough``.

The package tests.evidence.robustness counts the outcomes. These tests check that the failures are 0, and that failures
would be counted.
"""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from tests.evidence.robustness import fuzzing
from tests.evidence.robustness.fuzzing import fuzz
from tests.evidence.robustness.killed_runs import kill_counts
from tests.evidence.robustness.malicious_files import Exploit
from tests.evidence.robustness.readers import CommandLineError, Reader, readers
from tinygrad_cifar import models, optim, training
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

THOROUGH = settings.default.max_examples >= 300
INPUTS = 10_000 if THOROUGH else 700
KILLS = 50 if THOROUGH else 3

READERS = tuple(readers())


@functools.cache
def fuzz_counts_of(name: str) -> dict:
    return fuzz(name, max(9, round(INPUTS * readers()[name].share)))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_every_file_is_read_or_rejected(name):
    counts = fuzz_counts_of(name)
    assert counts["other errors"] == 0, counts["complaints"]
    assert counts["rejected"] + counts["read"] == sum(counts["inputs"].values())


@pytest.mark.parametrize("name", READERS)
def test_files_run_no_code_and_write_nothing_elsewhere(name):
    assert fuzz_counts_of(name)["code run"] == 0, fuzz_counts_of(name)["complaints"]


@pytest.mark.parametrize("name", READERS)
def test_memory_stays_within_the_limit(name):
    assert fuzz_counts_of(name)["over the limit"] == 0, fuzz_counts_of(name)["complaints"]


@pytest.mark.parametrize("name", [name for name in READERS if readers()[name].checked])
def test_mutated_file_with_checksums_gives_the_original_data(name):
    assert fuzz_counts_of(name)["wrong"] == 0, fuzz_counts_of(name)["complaints"]


def test_shares_sum_to_one():
    assert sum(reader.share for reader in readers().values()) == pytest.approx(1)


# -- failures are counted ----------------------------------------------------------------------------------------------


def fuzz_reader(monkeypatch, read, *, checked=False, limit=1e6):
    reader = Reader(b"good" * 100, read, (CommandLineError,), lambda rng: rng.randbytes(9), 1, lambda _: limit, checked)
    monkeypatch.setattr(fuzzing, "readers", lambda: {"it": reader})
    return fuzz("it", 30)


def test_reader_that_runs_code_is_detected(monkeypatch, tmp_path):
    trap = pickle.dumps(Exploit(os.mkdir, str(tmp_path / "sprung")))

    def read(_: Path, content: bytes) -> None:
        if content != b"good" * 100 and not (tmp_path / "sprung").exists():
            pickle.loads(trap)

    assert fuzz_reader(monkeypatch, read)["code run"] == 1


def test_reader_that_writes_elsewhere_is_detected(monkeypatch, tmp_path):
    def read(_: Path, content: bytes) -> None:
        (tmp_path / "elsewhere").write_bytes(content)

    assert fuzz_reader(monkeypatch, read)["code run"] == 30


def test_reader_may_write_to_its_own_folder(monkeypatch):
    assert fuzz_reader(monkeypatch, lambda path, content: path.write_bytes(content))["code run"] == 0


def test_reader_that_exceeds_its_memory_limit_is_detected(monkeypatch):
    assert fuzz_reader(monkeypatch, lambda *_: bytes(2_000_000).count(1))["over the limit"] == 30


def test_reader_that_raises_another_error_is_detected(monkeypatch):
    def read(_: Path, content: bytes) -> None:
        if content != b"good" * 100:
            raise KeyError

    counts = fuzz_reader(monkeypatch, read)
    assert counts["other errors"] + counts["read"] == 30
    assert counts["other errors"] >= 25
    assert "KeyError" in counts["complaints"][0]


def test_reader_that_accepts_mutated_data_is_detected(monkeypatch):
    assert fuzz_reader(monkeypatch, lambda _, content: content, checked=True)["wrong"] >= 15


# -- regressions -------------------------------------------------------------------------------------------------------


def test_pipe_is_rejected_as_a_checkpoint(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is not a regular file"):
        load_checkpoint(tmp_path / "pipe")


def test_checkpoint_larger_than_memory_is_rejected(tmp_path, monkeypatch):
    (tmp_path / "huge").touch()

    def fail(_: Path) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(CheckpointError, match="larger than the available memory"):
        load_checkpoint(tmp_path / "huge")


def run(path: Path, bits=np.random.MT19937, *, patience: int | None = None) -> None:
    rng = np.random.Generator(bits(0))
    model = models.SoftmaxRegression(3, 2, rng=rng)
    data = np.ones((6, 3)), np.array([0, 1] * 3)
    training.fit(
        model,
        optim.SGD(model.parameters(), 0.1),
        data,
        data,
        epochs=2,
        batch_size=3,
        rng=rng,
        patience=patience,
        checkpoint=path,
    )


def edit_checkpoint(path: Path, change) -> bytes:
    """Change the contents of a checkpoint, and return its bytes."""
    arrays, text = load_checkpoint(path)
    change(arrays, text)
    save_checkpoint(path, arrays, text)
    return path.read_bytes()


STATES = {
    "MT19937's place": (np.random.MT19937, lambda state: state["state"].update(pos=10**9)),
    "MT19937's place, negative": (np.random.MT19937, lambda state: state["state"].update(pos=-1)),
    "MT19937's words": (np.random.MT19937, lambda state: state["state"].update(key=[1, 2, 3])),
    "Philox's place": (np.random.Philox, lambda state: state.update(buffer_pos=-(2**31))),
    "Philox's buffer": (np.random.Philox, lambda state: state.update(buffer=[])),
    "SFC64's words": (np.random.SFC64, lambda state: state["state"].update(state=[0])),
    "PCG64's number": (np.random.PCG64, lambda state: state["state"].update(state="1")),
    "a part too many": (np.random.PCG64, lambda state: state.update(more=1)),
    "another generator": (np.random.PCG64, lambda state: state.update(bit_generator="MT19937")),
}


@pytest.mark.parametrize("name", STATES)
def test_invalid_state_of_a_random_generator_is_rejected(name, tmp_path):
    """NumPy does not validate the state: with the first of these, the next random number crashes the process."""
    bits, change = STATES[name]
    path = tmp_path / "run.npz"
    run(path, bits)
    content = edit_checkpoint(path, lambda _, text: change(text["generators"][0]))
    with pytest.raises(CheckpointError, match="a random generator"):
        run(path, bits)
    assert path.read_bytes() == content


PROGRESS = {
    "more epochs than planned": lambda _, text: text.update(epochs_done=3),
    "less than no epoch": lambda _, text: text.update(epochs_done=-1),
    "no best parameters": lambda arrays, _: [arrays.pop(name) for name in list(arrays) if name.startswith("best/")],
    "best parameters of another shape": lambda arrays, _: arrays.update({"best/W": np.zeros(3)}),
    "best parameters with another name": lambda arrays, _: arrays.update({"best/x": np.zeros(3)}),
}


@pytest.mark.parametrize("change", PROGRESS.values(), ids=PROGRESS)
def test_checkpoint_with_inconsistent_progress_is_rejected(change, tmp_path):
    path = tmp_path / "run.npz"
    run(path, patience=5)
    edit_checkpoint(path, change)
    with pytest.raises(CheckpointError, match="belongs to another run: "):
        run(path, patience=5)


RESULTS = {
    "a number beyond floats": lambda content: content.replace(
        b'"train_loss": ', b'"train_loss": 1' + b"0" * 400 + b', "x": '
    ),
    "a deep nest": lambda _: b"[" * 100_000,
    "nothing": lambda _: b"",
    "a text in a number's place": lambda content: content.replace(
        b'"train_loss": ', b'"train_loss": "\\u001b[2J", "x": '
    ),
    "another eta, and a terminal's commands": lambda content: content.replace(b'"eta": 0.01', b'"eta": "\\u001b[2J"'),
}


@pytest.mark.parametrize("change", RESULTS.values(), ids=RESULTS)
def test_malformed_result_is_a_one_line_error(change, tmp_path):
    reader = readers()["result of a run"]
    with pytest.raises(CommandLineError):
        reader.read(tmp_path / "it", change(reader.good))


# -- killed runs -------------------------------------------------------------------------------------------------------


@functools.cache
def kill_results() -> dict:
    return kill_counts(KILLS)


@pytest.mark.slow
def test_processes_were_killed():
    counts = kill_results()
    assert counts["kills"] == KILLS
    assert counts["before the first checkpoint"] + counts["in training"] + counts["at the end"] == KILLS


def test_killed_runs_resume_bit_for_bit():
    counts = kill_results()
    assert (counts["same"], counts["different"], counts["not resumed"]) == (counts["runs"], 0, 0)


def test_kills_do_not_damage_checkpoints():
    assert kill_results()["checkpoints lost"] == 0


def test_command_line_has_a_help_text():
    done = subprocess.run(
        [sys.executable, "-m", "tests.evidence.robustness", "--help"], capture_output=True, text=True, check=True
    )
    assert "--kills" in done.stdout
