"""The command search: its points, files, resumption, and the command that trains with the best settings."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.command_line import block_matplotlib, command, names, sentence
from tests.support.official_format import draw_batches, write_python_version
from tinygrad_cifar.cli import _build_parser, main
from tinygrad_cifar.cli.settings import explicit_settings, format_options
from tinygrad_cifar.cli.vary import parse_vary
from tinygrad_cifar.search import Choice, LogUniform, Uniform
from tinygrad_cifar.search.trial_store import lock_storage

pytestmark = pytest.mark.slow

optuna = pytest.importorskip("optuna", reason="searching needs optuna")

SMALL = ["--train-batches", "1", "--train-size", "200", "--validation-batch", "2", "--epochs", "1"]
GRID = ["--vary", "eta=log:0.001:0.1:3", "--vary", "lam=grid:0,0.1"]
FILES = {"trials.csv", "trials.json", "search.db", "search.db.lock"}


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the trials in threads; processes have their own tests."""
    monkeypatch.setattr("tinygrad_cifar.cli.search.ProcessExecutor", lambda count, **_: ThreadPoolExecutor(count))


def search(out: Path, *options: str, model: str = "softmax", figures: bool = False) -> int:
    drawing = [] if figures else ["--no-figures"]
    return main(["search", model, "--out", str(out), "--workers", "1", *SMALL, *drawing, *options])


def found(out: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads((out / "trials.json").read_text())
    return numbers


def table(out: Path) -> list[dict[str, str]]:
    with (out / "trials.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def points(out: Path, *names: str) -> list[tuple[Any, ...]]:
    return sorted(tuple(trial[name] for name in names) for trial in found(out)["trials"])


def complete_attempts(storage: Path) -> list[int]:
    """Return the points of the complete trials as Optuna reads them."""
    database = optuna.storages.RDBStorage(f"sqlite:///{storage}")
    study = optuna.load_study(study_name="search", storage=database)
    numbers = [t.user_attrs["point"] for t in study.trials if t.state.name == "COMPLETE"]
    database.remove_session()
    database.engine.dispose()
    return sorted(numbers)


def last_command(output: str) -> list[str]:
    """Return the arguments of the printed command that repeats the best."""
    lines = iter(output.partition("To repeat the best")[2].splitlines()[1:])
    text = ""
    for line in lines:
        text += line.removesuffix("\\")
        if not line.endswith("\\"):
            break
    words = shlex.split(text)
    assert words[0] == "tinygrad-cifar"
    return words[1:]


# -- points ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "dimension"),
    [
        ("eta=log:0.001:0.1", "eta", LogUniform(0.001, 0.1)),
        ("eta=log:1e-5:1e-1:8", "eta", LogUniform(1e-5, 1e-1, 8)),
        ("momentum=lin:0:0.9:4", "momentum", Uniform(0.0, 0.9, 4)),
        ("lam=grid:0,0.001,0.01", "lam", Choice([0.0, 0.001, 0.01])),
        ("batch-size=grid:50,100", "batch_size", Choice([50, 100])),
        ("batch_size=grid:50,100", "batch_size", Choice([50, 100])),
        ("hidden=grid:50,200+100", "hidden", Choice([(50,), (200, 100)])),
        ("flip=grid:yes,no", "flip", Choice([True, False])),
        ("patience=grid:3", "patience", Choice([3])),
        ("schedule=grid:cosine,triangular", "schedule", Choice(["cosine", "triangular"])),
    ],
)
def test_vary_is_parsed(text: str, name: str, dimension: object) -> None:
    assert parse_vary(text) == (name, dimension)


options_of_a_run = st.fixed_dictionaries(
    {},
    optional={
        "hidden": st.lists(st.integers(1, 999), min_size=1, max_size=3).map(tuple),
        "eta": st.floats(1e-12, 1e3),
        "lam": st.floats(0, 1),
        "flip": st.booleans(),
        "shuffle": st.booleans(),
        "epochs": st.integers(1, 99),
        "schedule": st.sampled_from(["constant", "cosine"]),
        "train_batches": st.lists(st.integers(1, 5), min_size=1, unique=True).map(tuple),
        "seed": st.integers(0, 2**63 - 1),
    },
)


@given(options_of_a_run)
def test_settings_survive_formatting_and_parsing(settings: dict[str, Any]) -> None:
    words = shlex.split(" ".join(format_options(settings)))
    assert explicit_settings(_build_parser().parse_args(["train", "softmax", "--out", "x", *words])) == settings


def test_a_grid_tries_every_combination_once(tmp_path: Path) -> None:
    assert search(tmp_path, *GRID) == 0
    assert points(tmp_path, "eta", "lam") == [(eta, lam) for eta in (0.001, 0.01, 0.1) for lam in (0.0, 0.1)]
    assert {trial["state"] for trial in found(tmp_path)["trials"]} == {"complete"}


@pytest.mark.parametrize("sampler", [[], ["--sampler", "random"], ["--sampler", "tpe"]])
def test_drawn_points_are_in_their_range_and_depend_on_the_seed(sampler: list[str], tmp_path: Path) -> None:
    how = ["--vary", "eta=log:0.001:0.1", "--trials", "3", *sampler]
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert search(tmp_path / folder, *how, "--seed", seed) == 0
    etas = [[eta for (eta,) in points(tmp_path / folder, "eta")] for folder in "abc"]
    assert all(0.001 <= eta <= 0.1 for eta in etas[0])
    assert etas[0] == etas[1] != etas[2]


# -- files and output --------------------------------------------------------------------------------------------------


def test_the_tables_and_the_figure_are_written(tmp_path: Path) -> None:
    assert search(tmp_path, *GRID, figures=True) == 0
    assert names(tmp_path) == FILES | {"search.png"}
    assert (tmp_path / "search.png").read_bytes().startswith(b"\x89PNG")
    assert len(table(tmp_path)) == 6
    for row, trial in zip(table(tmp_path), found(tmp_path)["trials"], strict=True):
        for name in ("eta", "lam", "validation_accuracy", "train_accuracy", "seconds"):
            assert float(row[name]) == trial[name]


def test_searches_of_any_number_and_kind_of_settings_are_drawn(tmp_path: Path) -> None:
    three = ["--vary", "lam=lin:0:0.1", "--vary", "flip=grid:yes,no", "--vary", "eta=log:0.001:0.1", "--trials", "4"]
    for k, how in enumerate((["--vary", "eta=log:0.001:0.1:2"], ["--vary", "preprocessing=grid:scale,centre"], three)):
        assert search(tmp_path / str(k), *how, figures=True) == 0
        assert "search.png" in names(tmp_path / str(k))


def test_the_best_come_first_and_no_line_is_wider_than_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    extra = ["--vary", "batch-size=grid:20,50", "--vary", "schedule=grid:constant,cosine"]
    assert search(tmp_path, *GRID, *extra) == 0
    output = capsys.readouterr()
    assert output.err == ""
    assert max(len(line) for line in output.out.splitlines() if str(tmp_path) not in line) <= 80
    ranking = output.out.partition("validation   train")[2].partition("To repeat")[0].splitlines()
    ranked = [line.split() for line in ranking if line[:2].strip().isdecimal()]
    assert [row[0] for row in ranked] == [str(k) for k in range(1, 11)]
    accuracies = sorted((trial["validation_accuracy"] for trial in found(tmp_path)["trials"]), reverse=True)
    assert [row[1] for row in ranked] == [f"{accuracy:.2%}" for accuracy in accuracies[:10]]


@pytest.mark.parametrize(
    ("model", "how"),
    [
        ("softmax", ["--vary", "eta=log:0.001:0.1", "--trials", "3"]),
        ("two-layer", ["--vary", "epochs=grid:1,2", "--vary", "hidden=grid:10,20"]),  # half a cycle is half of each run
        # A setting with an effect in some trials may be given; the command omits it where it has none.
        ("softmax", ["--vary", "schedule=grid:constant,triangular", "--n-s", "2", "--vary", "eta=grid:0.01,0.1"]),
        ("perceptron", ["--vary", "schedule=grid:triangular", "--vary", "flip=grid:yes", "--optimiser", "adam"]),
    ],
)
def test_the_printed_command_repeats_the_best(
    model: str, how: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--train-batches", "1", "--train-size", "200", "--validation-size", "300"]
    options = ["--out", str(tmp_path), "--workers", "1", "--no-figures"]
    assert main(["search", model, *options, *base, *how]) == 0
    again = last_command(capsys.readouterr().out)
    assert main([*again, "--no-figures"]) == 0
    result = json.loads((tmp_path / "best" / "result.json").read_text())
    assert result["settings"] == found(tmp_path)["best"]["settings"]
    assert result["validation_accuracy"] == pytest.approx(found(tmp_path)["best"]["validation_accuracy"], abs=0.004)


def test_coarse_to_fine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, "--vary", "eta=log:1e-4:1:5", "--coarse-to-fine", figures=True) == 0
    numbers = found(tmp_path)
    assert len({trial["search"] for trial in numbers["trials"]}) == 2 * len(numbers["rounds"])
    assert {trial["seed"] for trial in numbers["trials"]} == {0, 1, 2, 3}
    finalists = [finalist for r in numbers["rounds"] for finalist in r["finalists"]]
    assert numbers["best"]["params"] == max(finalists, key=lambda f: f["mean"])["params"]
    output = capsys.readouterr().out
    assert "no further one" in output
    assert "round 1: eta from 0.0001 to 1 on a logarithmic scale, 5 points\n" in output
    assert sum(line.startswith("round ") for line in output.splitlines()) == len(numbers["rounds"])
    assert "%" in output.partition("no further one")[2].partition("The best mean")[0]
    ranked = [line.split()[-1] for line in output.partition("settings\n")[2].partition("\n\n")[0].splitlines()]
    assert len(set(ranked)) == len(ranked)
    assert "To repeat the best with seed 1, one of the 3 seeds of its mean:\n" in output
    assert main([*last_command(output), "--no-figures"]) == 0
    result = json.loads((tmp_path / "best" / "result.json").read_text())
    assert result["validation_accuracy"] == pytest.approx(numbers["best"]["validation_accuracy"])


def test_diverged_trials_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, "--vary", "eta=grid:0.01,1e200", "--lam", "1e30", "--batch-size", "50") == 1
    assert "diverged" in sentence(capsys)
    assert [trial["state"] for trial in found(tmp_path)["trials"]] == ["diverged", "diverged"]
    assert search(tmp_path / "b", "--vary", "eta=grid:0.01,1e200", "--batch-size", "10", model="svm") == 0
    assert "1 of 2 trials diverged" in capsys.readouterr().out


def test_one_line_per_trial_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, *GRID) == 0
    lines = [line.split()[0] for line in capsys.readouterr().out.splitlines() if " best " in line]
    assert lines == [f"{k}/6" for k in range(1, 7)]


def test_one_bar_on_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert search(tmp_path, "--vary", "eta=log:0.01:0.1:2", "--coarse-to-fine") == 0
    output = capsys.readouterr()
    assert "round 1:" in output.err
    assert "best=" in output.err
    assert output.err.count("\n") == 1
    assert "1/2" not in output.out
    assert "round 1: eta from" in output.out


@pytest.mark.parametrize("columns", [40, 80])
def test_a_bar_leaves_room_for_the_ctrl_c_that_a_terminal_shows_after_it(
    columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the bar would continue on the next line, and be shown twice."""
    pytest.importorskip("tqdm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert search(tmp_path, "--vary", "eta=grid:0.01") == 0
    shown = [part for part in capsys.readouterr().err.replace("\n", "\r").split("\r") if "%" in part]
    assert shown
    assert max(map(len, shown)) <= columns - len("^C")


# -- resumption --------------------------------------------------------------------------------------------------------


def test_a_finished_search_is_not_run_again(tmp_path: Path) -> None:
    assert search(tmp_path, *GRID) == 0
    before = (tmp_path / "trials.csv").read_bytes()
    assert search(tmp_path, *GRID) == 0
    assert (tmp_path / "trials.csv").read_bytes() == before


def test_a_search_can_have_more_trials_later(tmp_path: Path) -> None:
    how = ["--vary", "eta=log:0.001:0.1", "--storage", str(tmp_path / "trials.db")]
    assert search(tmp_path / "few", *how, "--trials", "2") == 0
    assert search(tmp_path / "more", *how, "--trials", "4") == 0
    assert set(points(tmp_path / "few", "eta")) < set(points(tmp_path / "more", "eta"))
    assert found(tmp_path / "few")["trials"][0] in found(tmp_path / "more")["trials"]
    assert "search.db" not in names(tmp_path / "few")


def test_fewer_trials_than_before_remove_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = ["--vary", "eta=log:0.001:0.1"]
    assert search(tmp_path, *how, "--trials", "4") == 0
    before = (tmp_path / "trials.csv").read_bytes()
    capsys.readouterr()
    assert search(tmp_path, *how, "--trials", "2") == 0
    assert (tmp_path / "trials.csv").read_bytes() == before
    output = capsys.readouterr().out
    assert "4 trials of this search were already made" in output
    assert max(map(len, output.partition("To repeat")[0].splitlines())) <= 80


def test_a_search_with_another_name_replaces_nothing(tmp_path: Path) -> None:
    assert search(tmp_path, *GRID, figures=True) == 0
    before = {path: path.read_bytes() for path in tmp_path.glob("trials.*")}
    assert search(tmp_path, "--vary", "lam=grid:0,1", "--name", "a/b", figures=True) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert {"a%2Fb-trials.csv", "a%2Fb-trials.json", "a%2Fb-search.png"} < names(tmp_path)


@pytest.mark.parametrize("name", ["trials.csv", "trials.json", "search.png"])
def test_a_file_that_is_not_from_a_search_is_refused_before_the_trials(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("[1, 2]")
    assert search(tmp_path, *GRID, figures=True) == 1
    error = sentence(capsys)
    assert f"does not contain a search, but {name}, which the search would replace; choose another --out" in error
    assert names(tmp_path) == {name}
    assert (tmp_path / name).read_text() == "[1, 2]"


@pytest.mark.parametrize("name", ["trials.csv", "trials.json", "search.png"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_the_trials(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).mkdir()
    assert search(tmp_path, *GRID, figures=True) == 1
    assert f"{tmp_path / name} is a folder, and a file of the search belongs there" in sentence(capsys)
    assert names(tmp_path) == {name}


def test_a_search_without_figures_accepts_a_figure_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "search.png").write_text("mine")
    assert search(tmp_path, *GRID) == 0
    assert (tmp_path / "search.png").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="interrupts as POSIX systems do")
def test_after_ctrl_c_the_same_command_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", "softmax", "--vary", "eta=log:0.001:0.1:12", "--out", str(tmp_path), "--workers", "2"]
    # Seconds of work remain when the second trial is printed.
    arguments += ["--epochs", "30", "--train-batches", "1", "--no-figures"]
    with command(*arguments) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith(" 2/12"))
        process.send_signal(signal.SIGINT)
        _, error = process.communicate()
    assert process.returncode == 130
    assert error.startswith("tinygrad-cifar: stopped; ")
    assert error.count("\n") == 1
    before = complete_attempts(tmp_path / "search.db")
    assert 2 <= len(before) < 12
    assert main(arguments) == 0
    assert capsys.readouterr().err == ""
    assert complete_attempts(tmp_path / "search.db") == list(range(12))
    assert [int(row["number"]) for row in table(tmp_path)] == list(range(12))


@pytest.mark.skipif(os.name != "posix", reason="sends signals as POSIX systems do")
@pytest.mark.parametrize(("number", "status", "lines"), [(signal.SIGTERM, 143, 1), (signal.SIGKILL, -9, 0)])
def test_a_search_that_is_killed_leaves_at_most_one_line(
    number: signal.Signals, status: int, lines: int, tmp_path: Path
) -> None:
    arguments = ["search", "softmax", "--vary", "eta=log:0.001:0.1:24", "--out", str(tmp_path), "--workers", "2"]
    arguments += ["--epochs", "30", "--train-batches", "1", "--no-figures"]
    with command(*arguments) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if line.startswith(" 1/24"))
        process.send_signal(number)
        _, error = process.communicate()  # until all processes have closed the stream
    assert process.returncode == status
    assert error.count("\n") == lines, error
    assert all(line.startswith("tinygrad-cifar: stopped; the finished") for line in error.splitlines())


def test_a_second_search_in_the_same_storage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with lock_storage(tmp_path / "search.db"):
        assert search(tmp_path, *GRID) == 1
    assert "another search is using" in sentence(capsys)


# -- clusters ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def scheduler() -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="a cluster needs dask[distributed]")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


def test_a_dask_scheduler_runs_the_trials(scheduler: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "softmax", *GRID, *SMALL, "--out", str(tmp_path / "there"), "--scheduler", scheduler]) == 0
    assert "6 trials, 2 workers of" in capsys.readouterr().out
    assert search(tmp_path / "here", *GRID) == 0
    results = [points(tmp_path / place, "eta", "lam", "validation_accuracy") for place in ("here", "there")]
    assert results[0] == results[1]


def test_a_missing_scheduler_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("tinygrad_cifar.cli.search._SECONDS_TO_CONNECT", 0.3)
    for address in ("tcp://127.0.0.1:9", "nonsense"):
        assert search(tmp_path / "out", *GRID, "--scheduler", address) == 1
        assert f"no Dask scheduler at {address}" in sentence(capsys)
    assert not (tmp_path / "out").exists()


def test_threads_of_dask_workers_are_not_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("distributed")
    assert search(tmp_path / "out", *GRID, "--scheduler", "tcp://127.0.0.1:9", "--threads", "2") == 2
    assert "--threads is for processes of this machine" in sentence(capsys)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "how"), [("optuna", []), ("distributed", ["--scheduler", "tcp://h:1"])])
def test_a_missing_package_is_named_with_its_command(
    module: str,
    how: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert search(tmp_path / "out", *GRID, *how) == 1
    assert f"pip install {module}" in sentence(capsys)
    assert not (tmp_path / "out").exists()


def test_without_matplotlib_there_is_no_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    block_matplotlib(monkeypatch)
    assert search(tmp_path, *GRID, figures=True) == 0
    assert names(tmp_path) == FILES
    assert "pip install matplotlib" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "--vary"),
        (["--vary", "eta"], "NAME=log:LOW:HIGH"),
        (["--vary", "eta=0.1"], "NAME=log:LOW:HIGH"),
        (["--vary", "etta=grid:1"], "unknown setting 'etta'"),
        (["--vary", "model=grid:svm"], "unknown setting 'model'"),
        (["--vary", "eta=grid:"], "eta must be a finite number"),
        (["--vary", "eta=grid:much"], "eta must be a finite number"),
        (["--vary", "flip=grid:maybe"], "yes, no or alternate"),
        (["--vary", "eta=grid:0.1,0.1"], "different values"),
        (["--vary", "eta=log:0:1"], "above 0"),
        (["--vary", "eta=log:1:0.1"], "from a lower to a higher"),
        (["--vary", "eta=log:0.1"], "LOW:HIGH"),
        (["--vary", "eta=log:a:b"], "numbers"),
        (["--vary", "eta=lin:0:nan"], "nan"),
        (["--vary", "eta=log:0.1:1:1"], "at least 2"),
        (["--vary", "eta=log:0.1:1:99999999999"], "at most"),
        (["--vary", "eta=log:0.1:1"], "number of points"),
        (["--vary", "eta=lin:0:1:9999", "--vary", "lam=lin:0:1:9999"], "got 99980001"),
        (["--vary", "epochs=lin:1:9"], "an integer"),
        (["--vary", "eta=grid:1", "--vary", "eta=grid:2"], "varied twice"),
        (["--vary", "eta=grid:1", "--eta", "2"], "both varied and given"),
        (["--vary", "lam=grid:0,-1"], "with lam=-1"),
        (["--vary", "optimiser=grid:magic"], "magic"),
        (["--vary", "eta=grid:1", "--trials", "2", "--sampler", "grid"], "as many trials as points"),
        (["--vary", "eta=grid:1", "--sampler", "tpe"], "--trials N"),
        (["--vary", "eta=grid:1", "--trials", "0"], "--trials"),
        (["--vary", "eta=log:0.1:1:5", "--trials", "2"], "the number of points, 5, is for --sampler grid"),
        (["--vary", "eta=grid:1", "--seed", "-1"], "seed"),
        (["--vary", "eta=grid:1", "--train-size", "99999"], "--train-size 99999"),
        (["--vary", "eta=grid:1", "--data", "no such folder"], "no such folder"),
        (["--vary", "seed=grid:1,2", "--coarse-to-fine"], "its own seeds"),
        (["--vary", "eta=log:0.1:1:3", "--narrow"], "--narrow is now --coarse-to-fine"),
        (["--vary", "warm-up=grid:0,99999"], "with warm_up=99999: --warm-up must be at most"),
        (["--vary", "eta=grid:1", "--n-s", "9"], "--n-s has no effect with --schedule cosine"),
        (["--vary", "n-s=grid:9,10"], "--n-s has no effect with --schedule cosine"),
        (["--vary", "schedule=grid:constant,cosine", "--n-s", "9"], "--n-s has no effect"),
        (["--vary", "eta=grid:1", "--layer-statistics"], "--layer-statistics has no effect on a search"),
        (["--vary", "eta=grid:1", "--measure-every", "9"], "--measure-every has no effect on a search without"),
    ],
)
def test_invalid_options_are_refused(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--train-batches", "1", "--epochs", "1"]
    assert main(["search", "softmax", "--out", str(tmp_path / "out"), *base, *options]) == 2
    assert words in sentence(capsys)
    assert not (tmp_path / "out").exists()


def test_a_search_needs_validation_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--train-batches", "1", "--validation-size", "0"]
    assert main(["search", "softmax", "--out", str(tmp_path / "out"), *base, *GRID]) == 2
    assert "give --validation-size or --validation-batch" in sentence(capsys)


def test_another_search_in_the_same_storage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, *GRID) == 0
    capsys.readouterr()
    assert search(tmp_path, *GRID, "--batch-size", "50") == 1
    assert "its objective was train softmax" in sentence(capsys)
    assert search(tmp_path, *GRID, "--batch-size", "50", "--name", "smaller") == 0


def test_other_data_in_the_same_folder_are_another_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    options = ("--vary", "eta=grid:0.1", "--data", str(folder))
    for seed in (0, 1):
        write_python_version(folder, draw_batches(400, seed))
        assert search(tmp_path / "out", *options) == seed
    assert "its objective was train softmax" in sentence(capsys)


def test_another_space_is_shown_like_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(tmp_path, *GRID) == 0
    capsys.readouterr()
    assert search(tmp_path, "--vary", "hidden=grid:5,6+7", model="perceptron") == 1
    error = sentence(capsys)
    assert "another --name, or another --out" in error
    assert search(tmp_path, "--vary", "eta=log:0.001:0.5:3") == 1
    error = sentence(capsys)
    assert "its space was eta=log:0.001:0.1:3 lam=grid:0,0.1 and is eta=log:0.001:0.5:3 now;" in error


def test_a_file_that_is_not_a_storage_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letter.txt").write_text("Dear reader, " * 100)
    assert search(tmp_path / "out", *GRID, "--storage", str(tmp_path / "letter.txt")) == 1
    assert "letter.txt cannot be used" in sentence(capsys)
    assert (tmp_path / "letter.txt").read_text() == "Dear reader, " * 100
    assert names(tmp_path) <= {"letter.txt", "out"}


def test_a_journal_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trials.journal").write_text("{}")
    assert search(tmp_path / "out", *GRID, "--storage", str(tmp_path / "trials.journal")) == 1
    assert "must be an SQLite database, not a journal" in sentence(capsys)
    assert (tmp_path / "trials.journal").read_text() == "{}"


def test_search_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--help"]) == 0
    assert "--vary" in capsys.readouterr().out


def test_a_search_with_diverged_trials_writes_valid_files(tmp_path: Path) -> None:
    varied = ["--vary", "lam=grid:0.001,1000", "--vary", "eta=grid:0.01,10"]
    short = ["--train-size", "1000", "--epochs", "2", "--no-figures"]
    assert main(["search", "svm", *varied, *short, "--out", str(tmp_path)]) == 0

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not valid JSON")

    found = json.loads((tmp_path / "trials.json").read_text(), parse_constant=refuse)
    assert {"complete", "diverged"} == {trial["state"] for trial in found["trials"]}
