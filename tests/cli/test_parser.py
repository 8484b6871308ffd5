"""Error messages of the command line: they name the option and the nearest valid spelling; help has two levels."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.support.command_line import command, sentence
from tinygrad_cifar.cli import _build_parser, main
from tinygrad_cifar.cli.settings import OPTIONS
from tinygrad_cifar.cli.vary import parse_vary
from tinygrad_cifar.course.setting_fields import option_of

LINES = 25  # of a terminal


def failed(words: list[str], out: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the error message of a command that fails with the status of invalid options."""
    assert main([*words, "--out", str(out / "run")]) == 2
    assert not (out / "run").exists()
    return sentence(capsys)


# -- spelling ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["train", "softmax", "--epoch", "2"], "--epochs"),
        (["train", "--epoch", "2", "softmax"], "--epochs"),
        (["train", "softmax", "--batch_size", "2"], "--batch-size"),
        (["train", "softmax", "--batchsize=2"], "--batch-size"),
        (["train", "softmax", "--optimizer", "adam"], "--optimiser"),
        (["train", "softmax", "--lr", "0.1"], "--eta"),
        (["train", "softmax", "--learning-rate", "0.1"], "--eta"),
        (["train", "softmax", "--weight-decay", "0.1"], "--lam"),
        (["train", "softmax", "--learning_rat", "0.1"], "--eta"),
        (["train", "softmax", "--pixel", "scale"], "--preprocessing"),
        (["train", "softmax", "--optimiser", "adams"], "adam"),
        (["train", "softmax", "--schedule", "cosin"], "cosine"),
        (["train", "softmax", "--preprocessing", "standardize"], "standardise"),
        (["train", "two_layer"], "two-layer"),
        (["trian", "softmax"], "train"),
        (["search", "softmax", "--vary", "etta=grid:1"], "eta"),
        (["search", "softmax", "--vary", "lr=grid:1"], "eta"),
        (["search", "softmax", "--vary", "eta=grid:1", "--trails", "3"], "--trials"),
        (["search", "softmax", "--vary", "eta=grid:1", "--sampler", "gird"], "grid"),
        (["reproduce", "002-sofmax"], "002-softmax"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_right_one(
    words: list[str], meant: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("optuna")
    assert f"; did you mean {meant}?" in failed(words, tmp_path, capsys)


def test_an_unknown_word_is_named_without_a_guess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = failed(["train", "softmax", "--xyzzy"], tmp_path, capsys)
    assert "unknown option --xyzzy (see `tinygrad-cifar train --help`)" in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--model", "softmax"], "give the model without an option: tinygrad-cifar train softmax"),
        (["train", "--model=softmax"], "give the model without an option: tinygrad-cifar train softmax"),
        (["reproduce", "--names", "002"], "give the names without an option: tinygrad-cifar reproduce NAME"),
    ],
)
def test_an_argument_given_as_an_option_is_answered_with_its_form(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"unknown option {words[1].partition('=')[0]}; {message}" in failed(words, tmp_path, capsys)


def test_an_argument_too_many_refers_to_the_help_of_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = failed(["train", "softmax", "extra"], tmp_path, capsys)
    assert "unrecognized arguments: 'extra' (see `tinygrad-cifar train --help`)" in error


def test_an_unknown_setting_to_vary_has_one_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = failed(["search", "softmax", "--vary", "lamda=grid:1"], tmp_path, capsys)
    assert "unknown setting 'lamda' to vary; did you mean lam? (see" in error


def test_equal_values_to_vary_are_refused_as_they_were_typed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = failed(["search", "softmax", "--vary", "lam=grid:0.1,0,0"], tmp_path, capsys)
    assert "'lam=grid:0.1,0,0': a grid must have different values; got 0 more than once" in error


@pytest.mark.parametrize("name", ["", "train", "evaluate", "check", "search", "reproduce", "fetch"])
def test_every_command_has_the_help_with_all_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help-all"]) == 0
    assert capsys.readouterr().out.startswith(f"usage: tinygrad-cifar {name}".rstrip())


@pytest.mark.parametrize(
    "words", [["train", "softmax"], ["search", "softmax", "--vary", "eta=grid:1"], ["reproduce", "003-sanity"]]
)
def test_an_unknown_backend_of_matplotlib_is_refused_before_the_work(words: list[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("optuna")
    environment = os.environ | {"MPLBACKEND": "nonsense"}
    with command(*words, "--out", str(tmp_path / "run"), env=environment) as process:
        output, error = process.communicate()
    assert (process.returncode, output) == (2, "")
    assert "the environment variable MPLBACKEND must name a backend of matplotlib; got 'nonsense'" in error
    assert error.count("\n") == 1


# -- names and values --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, field in OPTIONS.items() if field.type in (int, float)])
@pytest.mark.parametrize("value", ["x", "nan", "-1", ""])
def test_a_bad_number_is_refused_by_the_name_of_its_option(
    name: str, value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = failed(["train", "perceptron", f"{option_of(name)}={value}"], tmp_path, capsys)
    assert error.startswith(f"tinygrad-cifar: error: {option_of(name)} must be a")
    assert f"; got {value!r}" in error


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch-size", "99999"], "--batch-size must be at most"),
        (["--train-size", "99999"], "--validation-size 200 and --train-size 99999 do not match"),
        (["--validation-size", "2000"], "--validation-size must be less than 2000, the number of training images of"),
        (["--validation-batch", "1"], "in both --train-batches and --validation-batch"),
        (["--validation-batch", "2", "--validation-size", "5"], "--validation-size and --validation-batch exclude"),
        (["--patience", "2", "--validation-size", "0"], "--patience needs validation images; give --validation-size"),
        (["--eta-min", "0.5"], "--eta-min must be at most --eta; they are 0.5 and 0.01"),
        (["--optimiser", "nesterov"], "--optimiser nesterov needs a --momentum greater than 0"),
        (["--dropout", "0.5"], "--dropout 0.5 needs the model perceptron, not softmax"),
        (["--schedule", "exponential"], "--schedule exponential needs --decay"),
        (["--warm-up", "101"], "--warm-up must be at most 18, the number of updates of the run; got 101"),
        (["--lam", "1e308"], "--lam must be a finite number from 0 to 1e+30; got '1e308'"),
        (["--sigma", "1e300"], "--sigma must be a finite number from 0 to 1e+30; got '1e300'"),
        (["--seed", "9" * 30], "--seed must be less than 2**63"),
        (["--train-batches", "6"], "--train-batches must be an integer from 1 to 5; got '6'"),
    ],
)
def test_a_bad_value_is_refused_by_the_name_of_its_option(
    options: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["--train-batches", "1", "--epochs", "1"] if "--train-batches" not in options else []
    error = failed(["train", "softmax", *base, *options], tmp_path, capsys)
    assert words in error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "softmax", "--seed", "-1"], "--seed must be an integer, at least 0; got '-1'"),
        (["check", "softmax", "--seed", "9" * 5000], "--seed must be at most 9223372036854775807; got '99999"),
        (["check", "softmax", "--features", "4000"], "--features must be at most 3072; got '4000'"),
        (["reproduce", "--workers", "x"], "--workers must be an integer from 1 to 256; got 'x'"),
    ],
)
def test_a_bad_number_of_another_command_is_refused_in_the_same_words(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert message in sentence(capsys)


def test_a_rate_below_the_default_minimum_is_accepted(tmp_path: Path) -> None:
    options = ["--train-size", "200", "--epochs", "1", "--eta", "1e-7", "--no-figures"]
    assert main(["train", "softmax", *options, "--out", str(tmp_path)]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "softmax", "--data", "nothing"], "--data must be builtin or a folder with CIFAR-10"),
        (["train", "softmax", "--data", "file"], "--data must be a folder, and file is a file; give the folder of"),
        (
            ["train", "softmax", "--data", "a.tar.gz"],
            "unpack the archive with tinygrad-cifar fetch DIR --from a.tar.gz",
        ),
        (["reproduce", "--docs", "file"], "--docs must be a folder, and "),
        (["search", "softmax", "--vary", "eta=grid:1", "--out", "file"], "--out must be a folder, and "),
        (["evaluate", "nothing"], "RUN must exist"),
    ],
)
def test_an_unusable_folder_is_refused_before_the_data_is_loaded(
    words: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("file", "a.tar.gz"):
        Path(name).touch()
    monkeypatch.setattr("tinygrad_cifar.data.builtin_dataset", None)
    monkeypatch.setattr("tinygrad_cifar.data.read_cifar10", None)
    extra = ["--out", "run"] if words[0] in ("train", "reproduce") else []
    assert main([*words, *extra]) == 2
    assert message in sentence(capsys)


# -- width -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [40, 80])
def test_a_long_error_wraps_at_the_width_of_the_terminal(
    columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["train", "softmax", "--preprocessing", "magic", "--out", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 1
    assert max(map(len, lines)) <= columns
    assert all(line.startswith("  ") for line in lines[1:])


def test_a_path_is_not_broken_by_wrapping(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "20")
    (tmp_path / "file").touch()
    assert main(["train", "softmax", "--out", str(tmp_path / "file")]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


# -- help --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [[], ["train"], ["evaluate"], ["check"], ["search"], ["reproduce"], ["fetch"]])
def test_help_fits_a_screen(
    name: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*name, "--help"]) == 0
    assert len(capsys.readouterr().out.splitlines()) <= LINES


@pytest.mark.parametrize("name", ["train", "evaluate", "check", "doctor", "search", "reproduce", "fetch"])
def test_the_lines_of_the_help_have_at_most_80_columns(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize("name", ["train", "search"])
def test_all_options_are_in_the_full_help_and_the_short_help_says_so(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([name, "--help"]) == 0
    short = capsys.readouterr().out
    assert f"tinygrad-cifar {name} --help-all" in short
    assert "--optimiser" not in short
    assert main([name, "--help-all"]) == 0
    full = capsys.readouterr().out
    assert all(option in full for field in OPTIONS.values() for option in field.options)
    assert max(map(len, full.splitlines())) <= 80


@pytest.mark.parametrize(("short", "long"), [("--q", "--loss-exponent"), ("--n-s", "--schedule-steps")])
def test_an_option_has_a_long_name(short: str, long: str) -> None:
    parser = _build_parser()
    base = ["train", "two-layer", "--out", "x"]
    value = "1"
    assert vars(parser.parse_args([*base, long, value])) == vars(parser.parse_args([*base, short, value]))
    assert parse_vary(f"{long[2:]}=grid:1") == parse_vary(f"{short[2:]}=grid:1")


def test_the_working_folder_is_an_output_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["--train-size", "200", "--epochs", "1", "--no-figures"]
    assert main(["train", "softmax", *options, "--out", os.curdir]) == 0
