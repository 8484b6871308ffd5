"""Files that lie and processes that are killed: a sample of each; all of them with the profile ``thorough``.

The counting is done by hostile.py; here it is asked whether what must be 0 is 0, and whether it would see it if it were
not.
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

from tests.evidence import robustness as hostile
from tests.evidence.robustness import OwnError, fuzz, readers
from tinygrad_cifar import models, optim, training
from tinygrad_cifar.system.checkpoints import CheckpointError, load_checkpoint, save_checkpoint

THOROUGH = settings.default.max_examples >= 300
INPUTS = 10_000 if THOROUGH else 700
KILLS = 50 if THOROUGH else 3

READERS = tuple(readers())


@functools.cache
def counted(name: str) -> dict:
    return fuzz(name, max(9, round(INPUTS * readers()[name].share)))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", READERS)
def test_every_file_ends_in_data_or_in_the_librarys_own_error(name):
    counts = counted(name)
    assert counts["other errors"] == 0, counts["complaints"]
    assert counts["refused"] + counts["read"] == sum(counts["inputs"].values())


@pytest.mark.parametrize("name", READERS)
def test_no_code_of_a_file_runs_and_nothing_is_written_elsewhere(name):
    assert counted(name)["code run"] == 0, counted(name)["complaints"]


@pytest.mark.parametrize("name", READERS)
def test_memory_stays_within_the_limit(name):
    assert counted(name)["over the limit"] == 0, counted(name)["complaints"]


@pytest.mark.parametrize("name", [name for name in READERS if readers()[name].checked])
def test_what_is_read_from_a_changed_file_with_checksums_is_what_was_written(name):
    assert counted(name)["wrong"] == 0, counted(name)["complaints"]


def test_the_shares_are_the_whole():
    assert sum(reader.share for reader in readers().values()) == pytest.approx(1)


# -- whether the counting sees what it looks for -----------------------------------------------------------------------


def counts_of(monkeypatch, read, *, checked=False, limit=1e6):
    reader = hostile.Reader(b"good" * 100, read, (OwnError,), lambda rng: rng.randbytes(9), 1, lambda _: limit, checked)
    monkeypatch.setattr(hostile, "readers", lambda: {"it": reader})
    return fuzz("it", 30)


def test_a_reader_that_runs_code_is_seen(monkeypatch, tmp_path):
    trap = pickle.dumps(hostile.Exploit(os.mkdir, str(tmp_path / "sprung")))

    def read(_: Path, content: bytes) -> None:
        if content != b"good" * 100 and not (tmp_path / "sprung").exists():
            pickle.loads(trap)

    assert counts_of(monkeypatch, read)["code run"] == 1


def test_a_reader_that_writes_elsewhere_is_seen(monkeypatch, tmp_path):
    def read(_: Path, content: bytes) -> None:
        (tmp_path / "elsewhere").write_bytes(content)

    assert counts_of(monkeypatch, read)["code run"] == 30


def test_a_reader_that_writes_in_its_own_folder_is_not(monkeypatch):
    assert counts_of(monkeypatch, lambda path, content: path.write_bytes(content))["code run"] == 0


def test_a_reader_that_takes_memory_is_seen(monkeypatch):
    assert counts_of(monkeypatch, lambda *_: bytes(2_000_000).count(1))["over the limit"] == 30


def test_a_reader_that_fails_in_another_way_is_seen(monkeypatch):
    def read(_: Path, content: bytes) -> None:
        if content != b"good" * 100:
            raise KeyError

    counts = counts_of(monkeypatch, read)
    assert counts["other errors"] + counts["read"] == 30
    assert counts["other errors"] >= 25
    assert "KeyError" in counts["complaints"][0]


def test_a_reader_that_believes_what_was_changed_is_seen(monkeypatch):
    assert counts_of(monkeypatch, lambda _, content: content, checked=True)["wrong"] >= 15


# -- what was uncovered, by name ---------------------------------------------------------------------------------------


def test_a_pipe_is_no_checkpoint(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CheckpointError, match="is not a regular file"):
        load_checkpoint(tmp_path / "pipe")


def test_a_checkpoint_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
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
        model, optim.SGD(model.parameters(), 0.1), data, data, epochs=2, batch_size=3, rng=rng, patience=patience,
        checkpoint=path,
    )  # fmt: skip


def retold(path: Path, change) -> bytes:
    """Change what a checkpoint says, and return its bytes."""
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
def test_a_random_generator_is_not_led_out_of_its_memory(name, tmp_path):
    """NumPy itself does not look: with the first of these the process crashes at the next random number."""
    bits, change = STATES[name]
    path = tmp_path / "run.npz"
    run(path, bits)
    content = retold(path, lambda _, text: change(text["generators"][0]))
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
def test_a_checkpoint_that_would_fail_at_the_end_is_refused_at_once(change, tmp_path):
    path = tmp_path / "run.npz"
    run(path, patience=5)
    retold(path, change)
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
def test_a_result_that_lies_is_one_printable_sentence(change, tmp_path):
    reader = readers()["result of a run"]
    with pytest.raises(OwnError):
        reader.read(tmp_path / "it", change(reader.good))


# -- killing -----------------------------------------------------------------------------------------------------------


@functools.cache
def killed() -> dict:
    return hostile.kill_counts(KILLS)


def test_processes_were_killed():
    counts = killed()
    assert counts["kills"] == KILLS
    assert counts["before the first checkpoint"] + counts["in training"] + counts["at the end"] == KILLS


def test_every_killed_run_is_resumed_to_the_same_bits():
    counts = killed()
    assert (counts["same"], counts["different"], counts["not resumed"]) == (counts["runs"], 0, 0)


def test_no_kill_costs_a_checkpoint():
    assert killed()["checkpoints lost"] == 0


def test_the_evidence_can_be_had_by_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "tests.evidence.robustness", "--help"], capture_output=True, text=True, check=True
    )
    assert "--kills" in done.stdout
