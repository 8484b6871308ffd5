"""Experiments: every reported value is declared once and compared; no job is run twice, whatever is killed."""

from __future__ import annotations

import html.parser
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.command_line import reproduce_here
from tests.support.official_format import draw_batches, python_version_files
from tests.support.small_report import NAMES
from tinygrad_cifar.cli import main
from tinygrad_cifar.course.preparation import split_dataset
from tinygrad_cifar.course.settings import Settings
from tinygrad_cifar.data import load_dataset
from tinygrad_cifar.data.cifar10 import BINARY, OFFICIAL, OTHER
from tinygrad_cifar.experiments import pages
from tinygrad_cifar.experiments.catalogue import EXPERIMENTS, REPORTS
from tinygrad_cifar.experiments.declaration import Experiment, GradientCheckJob, PublishedAccuracy, TrainingJob
from tinygrad_cifar.experiments.document import Table, Text, Title, to_html, to_markdown
from tinygrad_cifar.experiments.outcomes import OutcomeStore
from tinygrad_cifar.experiments.reproduce import select_experiments
from tinygrad_cifar.experiments.results import AccuracyComparison, Results, load_results
from tinygrad_cifar.system.checkpoints import load_checkpoint, save_checkpoint

# Every accuracy in the tables and texts of the reports, in percent.
REPORTED = {
    "000": [40.97, 27.71, 45.25, 38.90, 44.58, 39.00, 39.92, 37.08],
    "001": [36.5, 36.5, 36.46, 36.39, 38.09, 38.65, 36.01],
    "002": [24.61, 37.53, 33.17, 22.03],
    "003": [
        *(94, 19.17, 45.25, 45.85, 50.12, 52.06),
        *(48.04, 50.92, 51.8, 51.8, 51.92, 51.7, 51.1, 51.28),
        *(51.46, 51.96, 52.06, 52.04, 51.46, 51.46, 51.12, 51.12, 50.76, 50.7),
        *(50.52, 49.92, 49.72, 49.24, 49.18, 49.16, 49.08, 48.94, 48.18, 48.02),
    ],
    "a3": [57.61, 57.61],
    "record": [],
    "patchify": [],
    "fully-connected": [],
    "convnet": [],
    "004": [35.39, 33.91, 33.56, 32.39, 33.63, 33.33, 39.93, 37.37, 39.54, 37.09, 38.95, 36.95, 54.23, 50.67],
}

CHEAP = ["003-sanity", "004-gradients"]


def declared() -> list[Experiment]:
    return list(EXPERIMENTS.values())


def trainings(*, small: bool) -> list[TrainingJob]:
    return [job for e in declared() for job in e.jobs(small=small) if isinstance(job, TrainingJob)]


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("tinygrad-cifar: "), error
    assert error.count("\n") == 1, error
    return error


# -- the declarations --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("report", REPORTS)
def test_every_reported_accuracy_is_declared(report: str) -> None:
    numbers = [n.reported for e in declared() if e.report == report for n in e.numbers if n.reported is not None]
    assert Counter(numbers) == Counter(REPORTED[report])


def test_every_gradient_check_of_the_reports_is_declared() -> None:
    checks = {(job.report, job.kind) for e in declared() for job in e.jobs() if isinstance(job, GradientCheckJob)}
    assert checks == {
        ("000", "softmax"),
        ("002", "softmax"),
        ("003", "two-layer"),
        ("004", "softmax"),
        ("004", "two-layer"),
    }


def test_a_key_belongs_to_one_job() -> None:
    jobs = [job for e in declared() for job in e.jobs()]
    assert len({job.key for job in jobs}) == len(set(jobs))


def test_experiments_share_equal_jobs() -> None:
    decaying = EXPERIMENTS["001-decay"].trainings("decay 0.9")[0]
    in_the_grid = EXPERIMENTS["001-grid"].trainings("lambda 0, batch 100, eta 0.02")[0]
    assert decaying.key == in_the_grid.key


def test_compared_runs_have_three_seeds() -> None:
    for experiment in declared():
        compared = [n for n in experiment.numbers if not n.minor]
        assert not compared or experiment.seeds >= 3 or experiment.on_request, experiment.name


def test_an_accuracy_of_an_unknown_run_is_refused() -> None:
    with pytest.raises(ValueError, match="'missing'"):
        Experiment(
            name="x",
            report="000",
            source="",
            title="",
            about="",
            numbers=(PublishedAccuracy("a", "missing", "test", 1.0),),
        )


def test_figures_have_different_files() -> None:
    files = [f"{e.name}-{figure.slug}" for e in declared() for figure in e.figures]
    assert len(set(files)) == len(files)


def test_small_runs_are_possible_on_the_builtin_data() -> None:
    dataset = load_dataset("builtin")
    fields = ("train_batches", "train_size", "validation_size", "validation_batch", "batch_size")
    for settings in {tuple(getattr(job.settings, name) for name in fields) for job in trainings(small=True)}:
        split_dataset(dataset, Settings(**dict(zip(fields, settings, strict=True))))


@given(cycles=st.integers(1, 5), epochs_of_a_half=st.integers(1, 4))
def test_a_small_run_has_as_many_cycles(cycles: int, epochs_of_a_half: int) -> None:
    settings = Settings(schedule="triangular", n_s=100 * epochs_of_a_half * 10, epochs=20 * cycles * epochs_of_a_half)
    small = TrainingJob(settings).smoke_version().settings
    steps = small.epochs * (2000 // small.batch_size)
    assert steps / (2 * small.n_s) == pytest.approx(cycles, rel=0.02)


def test_a_run_that_selects_settings_does_not_use_the_test_images() -> None:
    for experiment in declared():
        tested = {number.run for number in experiment.numbers if number.quantity == "test"}
        assert all(
            job.test == (run not in experiment.untested) for run in experiment.runs for job in experiment.trainings(run)
        )
        assert not tested & set(experiment.untested)


def test_a_run_without_the_test_images_is_another_job() -> None:
    settings = Settings()
    assert TrainingJob(settings).key != TrainingJob(settings, test=False).key
    assert not TrainingJob(settings, test=False).smoke_version().test


def test_the_two_runs_of_a_record_have_the_same_settings() -> None:
    selected = [e for e in declared() if e.name.startswith("record-") and len(e.runs) > 1]
    assert len(selected) == 5
    for experiment in selected:
        chosen, final = experiment.runs.values()
        assert replace(chosen, validation_size=0) == final
        assert not final.validation_size
        assert final.validation_batch is None


def test_records_take_at_most_ten_minutes_of_two_cores() -> None:
    for experiment in (e for e in declared() if e.report == "record"):
        assert sum(job.cost for job in experiment.jobs()) <= 2 * 10 * 60


def test_the_cycles_of_assignment_3_end_in_the_last_epoch() -> None:
    for settings in (settings for e in declared() if e.report == "a3" for settings in e.runs.values()):
        in_an_epoch = 49_000 // settings.batch_size
        assert 0 <= settings.epochs * in_an_epoch - settings.steps_of_cycles < in_an_epoch


def test_experiments_on_request_are_selected_only_by_name() -> None:
    assert select_experiments([]) == [e for e in declared() if not e.on_request]
    assert all(e.on_request for e in select_experiments(["record"]))


# -- the comparison ----------------------------------------------------------------------------------------------------

percents = st.floats(0, 100)


@given(reproduced=st.lists(percents, min_size=1, max_size=5), reported=percents)
def test_the_difference_is_reproduced_minus_reported(reproduced: list[float], reported: float) -> None:
    row = AccuracyComparison(PublishedAccuracy("", "", "test", reported), reproduced, 1.0)
    assert row.difference == pytest.approx(sum(reproduced) / len(reproduced) - reported)
    assert row.near == (abs(row.difference) <= 2)
    assert math.isnan(row.spread) == (len(reproduced) == 1)


def test_without_a_reported_value_there_is_no_difference() -> None:
    row = AccuracyComparison(PublishedAccuracy("", "", "test", None), [40.0], 1.0)
    assert not row.compared
    assert math.isnan(row.difference)


def test_an_explanation_has_the_reason_and_the_ranges_of_the_runs() -> None:
    row = AccuracyComparison(PublishedAccuracy("", "", "test", 24.61, "It jumps."), [17.0, 21.0], 1.0, (12.0, 30.0))
    assert row.explain_difference().startswith("It jumps. ")
    assert "between 17.00 and 21.00 %" in row.explain_difference()
    assert "from 12.0 to 30.0 %" in row.explain_difference()


def test_an_explanation_names_the_reference_run() -> None:
    number = PublishedAccuracy("", "", "test", 51.28, "A reason.", "lambda 0")
    row = AccuracyComparison(number, [38.0], 1.0, reference=51.77)
    assert row.explain_difference() == "A reason. The reproduction with lambda 0 has 51.77 %."


def test_results_on_other_data_are_not_compared() -> None:
    assert not AccuracyComparison(PublishedAccuracy("", "", "test", 40.0), [40.0], 1.0, comparable=False).compared


# -- documents ---------------------------------------------------------------------------------------------------------


class Texts(html.parser.HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.links: list[str] = []
        self.inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "srcset", "href")]

    def handle_data(self, data: str) -> None:
        if self.inside[-1:] != ["style"]:
            self.texts.append(data)


@given(st.text("ab<>&\"'|\u00e9 ", min_size=1).filter(str.strip))
def test_any_text_is_escaped_in_html(text: str) -> None:
    page = to_html("title", [Text(text), Table(["h"], [[text]])], "figures")
    assert "".join(Texts(page).texts).count(text) >= 2


def test_a_bar_is_escaped_in_markdown() -> None:
    assert r"| a \| b |" in to_markdown([Table(["|g|"], [["a | b"]])], "figures")


# -- the command -------------------------------------------------------------------------------------------------------


def test_the_list_names_every_experiment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:] if not line.startswith(" ")] == list(EXPERIMENTS)


@pytest.mark.slow
def test_the_page_of_assignment_3_names_its_source(tmp_path: Path) -> None:
    assert (
        main(["reproduce", "a3-first", "a3-time", "--out", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")])
        == 0
    )
    page = (tmp_path / "docs" / "reports" / "a3.md").read_text()
    assert page.startswith(f"# {REPORTS['a3']}\n")
    assert "the course's assignment 3, not one of the five reports" in page
    assert "| milliseconds of a step | tinygrad_cifar |" in page
    assert (tmp_path / "docs" / "images" / "reports" / "a3-first-filters.png").exists()
    (first, time) = json.loads((tmp_path / "out" / "results.json").read_text())["experiments"]
    assert first["milliseconds_of_a_step"] == {}
    assert all(found["ours"] > 0 for found in time["milliseconds_of_a_step"].values())


def test_an_unknown_name_is_refused_with_the_command_that_lists_the_known_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "nothing", "--out", str(tmp_path / "out")]) == 2
    error = sentence(capsys)
    assert "unknown experiment or report 'nothing'" in error
    assert "`tinygrad-cifar reproduce --list`" in error
    assert not (tmp_path / "out").exists()


def test_out_is_required(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce"]) == 2
    assert "--out" in sentence(capsys)


def test_a_folder_that_is_not_writable_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["reproduce", "--out", str(tmp_path / "file" / "out")]) == 2
    assert "--out must be a folder, and " in sentence(capsys)


@pytest.mark.parametrize("name", ["index.html", "results.json", "report_003.md"])
def test_a_file_that_is_not_from_a_reproduction_is_refused_before_the_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["reproduce", "003-sanity", "--out", str(tmp_path)]) == 1
    assert f"does not contain a reproduction, but {name}, which the reproduction would replace" in sentence(capsys)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


@pytest.mark.parametrize("name", ["index.html", "results.json", "report_003.md"])
def test_a_folder_in_the_place_of_a_page_is_refused_before_the_runs(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).mkdir()
    assert main(["reproduce", "003-sanity", "--out", str(tmp_path)]) == 1
    assert f"{tmp_path / name} is a folder, and a file of the reproduction belongs there" in sentence(capsys)


@pytest.mark.parametrize("name", ["figures", "runs"])
def test_a_file_in_the_place_of_a_folder_is_named(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text("mine")
    assert main(["reproduce", "003-sanity", "--out", str(tmp_path)]) == 1
    assert f"{tmp_path / name} must be a folder; move the file" in sentence(capsys)


def test_results_of_other_data_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "data.json").write_text(json.dumps({"name": "CIFAR-10", "sha256": "0" * 64}))
    assert main(["reproduce", "--out", str(out)]) == 1
    assert "other data (CIFAR-10" in sentence(capsys)


def test_a_folder_with_unknown_data_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "data.json").write_text("[]")
    assert main(["reproduce", "--out", str(out)]) == 1
    assert "choose another --out" in sentence(capsys)


def test_a_run_that_fails_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, content in python_version_files(draw_batches(40)).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    status = main(["reproduce", "003-sanity", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert status == 1
    assert "two-layer 50" in sentence(capsys)


# -- the pages ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def page(small_report: Path) -> str:
    return (small_report / "out" / "index.html").read_text()


@pytest.fixture(scope="session")
def written(small_report: Path) -> dict[str, dict[str, object]]:
    """Return the experiments in the file of results, by name."""
    numbers = json.loads((small_report / "out" / "results.json").read_text())
    return {experiment["name"]: experiment for experiment in numbers["experiments"]}


def small_results(folder: Path, *names: str) -> list[Results]:
    outcomes = OutcomeStore(folder / "out" / "runs", load_dataset("builtin").identity()["sha256"])
    classes = tuple("abc")
    return [load_results(EXPERIMENTS[n], outcomes, data="shapes", class_names=classes, small=True) for n in names]


@pytest.mark.parametrize(
    ("names", "title", "begins"),
    [
        (["002-gradients"], "Report 002, reproduced in part", "1 of the 2 experiments of report 002 "),
        (["000-gradients", "000-softmax"], "Report 000, reproduced", "All experiments of report 000 "),
        (["000-softmax", "003-fine"], "Reports 000 and 003, reproduced in part", "2 of the 10 experiments of reports"),
    ],
)
def test_the_title_names_the_reports_on_the_page(names: list[str], title: str, begins: str, small_report: Path) -> None:
    blocks = pages.summary(small_results(small_report, *names), pages.RunStats(1.0, 1, 0, 1, "a machine"))
    assert isinstance(blocks[0], Title)
    assert blocks[0].text == title
    assert [block for block in blocks if isinstance(block, Text) and block.text.startswith(begins)]


@pytest.mark.parametrize(
    ("without", "title"),
    [((), "Five reports, reproduced"), (("004-fine",), "Five reports, reproduced in part")],
)
def test_the_title_of_all_reports_counts_them(without: tuple[str, ...], title: str) -> None:
    done = [e for e in declared() if not (e.name in without or e.on_request)]
    results = [Results(experiment, "CIFAR-10", (), {}, [], small=False) for experiment in done]
    assert pages.title(results) == title
    record = Results(EXPERIMENTS["record-linear"], "CIFAR-10", (), {}, [], small=False)
    assert pages.title([*results, record]) == title
    assert pages.title([record]) == REPORTS["record"]
    a3 = Results(EXPERIMENTS["a3-first"], "CIFAR-10", (), {}, [], small=False)
    assert pages.title([*results, a3]) == title
    assert pages.title([a3, record]) == f"{REPORTS['a3']}; {REPORTS['record']}"


def test_tables_have_no_empty_columns(small_report: Path) -> None:
    for page in (small_report / "out").glob("report_*.md"):
        for table in re.findall(r"(?:^\|.*\|\n)+", page.read_text(), re.MULTILINE):
            lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
            columns = list(zip(*lines, strict=True))
            assert all("".join(column).strip() for column in columns), table


def test_a_page_states_the_settings_that_a_small_version_changes(small_report: Path) -> None:
    (softmax,) = small_results(small_report, "000-softmax")
    texts = [block.text for block in pages.report("000", [softmax], {"000-softmax": []}) if isinstance(block, Text)]
    assert texts[0].startswith("In the report: ")
    assert "40 epochs of batches of 100" in texts[0]
    assert texts[1].endswith("Changed: epochs 4 instead of 40; batch_size 20 instead of 100.")


def test_the_runs_of_an_experiment_differ_in_their_small_versions() -> None:
    for experiment in declared():
        for small in (False, True):
            keys = [job.key for run in experiment.runs for job in experiment.trainings(run, small=small)]
            assert len(set(keys)) == len(keys), experiment.name


def test_the_contents_link_to_every_experiment_twice(page: str) -> None:
    for name in NAMES:
        assert page.count(f'<li><a href="#{name}">') == 2  # beside the text, and above it on a phone


def test_headings_have_links_to_themselves(page: str) -> None:
    for name in NAMES:
        assert re.search(rf'<h3 id="{name}">[^<]+<a class="self" href="#{name}"', page)


def test_the_documentation_has_no_figures_for_phones(small_report: Path) -> None:
    assert list((small_report / "out" / "figures").glob("*.narrow.png"))
    assert not list((small_report / "docs").rglob("*.narrow.png"))


def test_every_named_experiment_is_on_the_page(page: str, written: dict[str, dict[str, object]]) -> None:
    assert set(written) == set(NAMES)
    assert all(f'id="{name}"' in page for name in NAMES)


def test_headings_have_different_names(page: str) -> None:
    names = re.findall(r'id="([^"]*)"', page)
    assert len(set(names)) == len(names)


def test_every_declared_figure_is_drawn_and_shown(small_report: Path, page: str) -> None:
    for name in NAMES:
        for figure in EXPERIMENTS[name].figures:
            file = f"figures/{name}-{figure.slug}.png"
            assert (small_report / "out" / file).read_bytes().startswith(b"\x89PNG")
            assert f'src="{file}"' in page


def test_the_page_refers_only_to_its_figures(small_report: Path, page: str) -> None:
    links = [link for link in Texts(page).links if not link.startswith(("#", "data:"))]
    assert links
    assert all((small_report / "out" / link).is_file() for link in links)
    assert "<script" not in page


@pytest.mark.parametrize("name", [OFFICIAL, BINARY, OTHER])
def test_a_page_names_data_that_are_not_the_official_files(name: str) -> None:
    result: Any = SimpleNamespace(small=False, data=name)
    text = [str(block) for block in pages.warning(result)]
    assert text == [] if name == OFFICIAL else name in text[0]


def test_every_page_states_that_the_data_is_not_cifar10(small_report: Path, page: str) -> None:
    out, docs = small_report / "out", small_report / "docs" / "reports"
    pages = [out / "index.html", *out.glob("*.md"), *docs.glob("*.md")]
    assert len(pages) == 1 + 2 * len({EXPERIMENTS[name].report for name in NAMES})
    assert all("This is not CIFAR-10." in path.read_text() for path in pages)
    assert "within 2 points" not in page


def test_the_json_has_the_values_of_the_page(page: str, written: dict[str, dict[str, object]]) -> None:
    numbers = written["000-softmax"]["numbers"]
    assert isinstance(numbers, list)
    for number, declared_as in zip(numbers, EXPERIMENTS["000-softmax"].numbers, strict=True):
        assert f"{number['reproduced']:.2f} ± {number['standard_deviation']:.2f}" in page
        assert len(number["seeds"]) == EXPERIMENTS["000-softmax"].seeds_of(declared_as.run)


def test_small_gradient_checks_are_not_compared(written: dict[str, dict[str, object]]) -> None:
    for name in ("000-gradients", "002-gradients", "004-gradients"):
        rows = written[name]["gradients"]
        assert isinstance(rows, list)
        assert rows
        assert not [row for row in rows if row["reported"] is not None or row["passed"] is not None]
        assert all(0 <= row["centred"] <= row["one_sided"] for row in rows if row["analytic"] is None)


def test_the_documentation_links_to_existing_figures(small_report: Path) -> None:
    docs = small_report / "docs"
    linked = [
        (path.parent / link).resolve()
        for path in (docs / "reports").glob("*.md")
        for link in re.findall(r"\]\(([^)]*)\)", path.read_text())
    ]
    assert sorted(linked) == sorted(path.resolve() for path in (docs / "images" / "reports").glob("*.png"))


@pytest.mark.slow
def test_a_record_of_networks_states_its_memory_and_shows_its_mistakes(tmp_path: Path) -> None:
    assert reproduce_here(["record-patchify", "--out", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")]) == 0
    page = (tmp_path / "docs" / "reports" / "patchify.md").read_text()
    assert page.startswith(f"# {REPORTS['patchify']}\n")
    header = next(line for line in page.splitlines() if line.startswith("| accuracy"))
    assert header.endswith("| seeds | processor seconds per run | elapsed seconds of training | peak memory |")
    assert re.search(r"test \|.* GB \|$", page, re.MULTILINE)
    assert {"filters", "mistakes", "confusion"} <= {
        name.split("-")[-1][:-5] for name in re.findall(r"\S*\.png\)", page)
    }


@pytest.mark.slow
def test_a_record_has_a_page_like_a_report(tmp_path: Path) -> None:
    assert reproduce_here(["record-linear", "--out", str(tmp_path / "out"), "--docs", str(tmp_path / "docs")]) == 0
    page = (tmp_path / "docs" / "reports" / "record.md").read_text()
    assert page.startswith(f"# {REPORTS['record']}\n")
    assert "This is not CIFAR-10." in page
    assert "preprocessing whiten, components 400" in page
    assert "flip yes, shift 2" in page
    assert " reported" not in page.split("reported ones.")[1]
    images = re.findall(r"\]\(([^)]*)\)", page)
    assert [Path(image).name for image in images] == [
        f"record-linear-{figure.slug}.png" for figure in EXPERIMENTS["record-linear"].figures
    ]
    assert all((tmp_path / "docs" / "reports" / image).is_file() for image in images)
    runs = json.loads((tmp_path / "out" / "results.json").read_text())["experiments"][0]["runs"]
    chosen, final = (run["seeds"][0] for run in runs.values())
    assert (chosen["test_accuracy"], final["validation_accuracy"]) == (None, None)
    assert chosen["validation_accuracy"] is not None
    assert final["test_accuracy"] is not None


# -- resumption --------------------------------------------------------------------------------------------------------


def outcomes(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*.npz")}


def stopped_midway(out: Path, how: signal.Signals) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tinygrad_cifar", "reproduce", *CHEAP, "--out", str(out), "--workers", "1"],
        text=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )
    while process.poll() is None and not outcomes(out):
        time.sleep(0.01)
    process.send_signal(how)
    return process


@pytest.mark.slow
def test_a_killed_command_is_resumed_without_repeating_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stopped_midway(tmp_path, signal.SIGKILL).communicate()
    before = outcomes(tmp_path)
    assert before
    assert reproduce_here([*CHEAP, "--out", str(tmp_path)]) == 0
    assert outcomes(tmp_path).items() >= before.items()
    jobs = [job for name in CHEAP for job in EXPERIMENTS[name].jobs(small=True)]
    assert set(outcomes(tmp_path)) == {f"{job.key}.npz" for job in jobs}
    finished = outcomes(tmp_path)
    capsys.readouterr()
    assert reproduce_here([CHEAP[0], "--out", str(tmp_path)]) == 0
    assert "0 runs done" in capsys.readouterr().out
    assert outcomes(tmp_path) == finished
    assert f'id="{CHEAP[1]}"' in (tmp_path / "index.html").read_text(), "earlier results stay on the page"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="sends the signal of Ctrl-C")
def test_ctrl_c_prints_how_to_resume(tmp_path: Path) -> None:
    process = stopped_midway(tmp_path, signal.SIGINT)
    _, error = process.communicate()
    assert process.returncode == 130
    assert "the same command resumes it" in error
    assert str(tmp_path) in error
    assert error.count("\n") == 1


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a reproduction, which tests must not change."""
    folder = tmp_path_factory.mktemp("finished")
    assert reproduce_here(["003-sanity", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def run_files(finished: Path, tmp_path: Path) -> list[Path]:
    """Return the files of an experiment that has been run."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    files = sorted((tmp_path / "runs").glob("*.npz"))
    assert len(files) > 1
    return files


def rows(file: Path) -> list[list[float]]:
    """Return the measurements of the run of a file."""
    found: list[list[float]] = load_checkpoint(file)[1]["rows"]
    return found


def assert_run_is_repeated(file: Path, expected: list[list[float]], caplog: pytest.LogCaptureFixture) -> None:
    """Repeat the command: it must print one line that names the file, and repeat only its run."""
    others = {path: path.stat().st_mtime_ns for path in file.parent.glob("*.npz") if path != file}
    caplog.clear()
    assert reproduce_here(["003-sanity", "--out", str(file.parent.parent)]) == 0
    (message,) = caplog.messages
    assert str(file) in message
    assert "\n" not in message
    assert rows(file) == expected
    assert {path: path.stat().st_mtime_ns for path in others} == others


@pytest.mark.slow
def test_a_run_with_the_file_of_another_is_repeated(run_files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    before = rows(run_files[0])
    run_files[0].write_bytes(run_files[1].read_bytes())
    assert_run_is_repeated(run_files[0], before, caplog)


def test_a_run_with_a_file_of_other_data_is_repeated(run_files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    before = rows(run_files[0])
    arrays, text = load_checkpoint(run_files[0])
    text["of"]["data"] = "0" * 64
    save_checkpoint(run_files[0], arrays, text)
    assert_run_is_repeated(run_files[0], before, caplog)


@pytest.mark.slow
def test_a_run_with_the_file_of_a_trained_model_is_repeated(
    run_files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    before = rows(run_files[0])
    assert main(["train", "softmax", "--epochs", "1", "--out", str(run_files[0].parent.parent / "trained")]) == 0
    run_files[0].write_bytes((run_files[0].parent.parent / "trained" / "parameters.npz").read_bytes())
    assert_run_is_repeated(run_files[0], before, caplog)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:0],
        lambda content: content[: len(content) // 2],
        lambda content: content[:300] + bytes([content[300] ^ 1]) + content[301:],
    ],
    ids=["empty", "cut", "one bit"],
)
def test_a_run_with_a_damaged_file_is_repeated(
    damage: Callable[[bytes], bytes], run_files: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    before = rows(run_files[0])
    run_files[0].write_bytes(damage(run_files[0].read_bytes()))
    assert_run_is_repeated(run_files[0], before, caplog)


@given(place=st.integers(0), bit=st.integers(0, 7))
def test_a_damaged_outcome_is_missing_or_unchanged(place: int, bit: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        job, outcomes = TrainingJob(Settings()), OutcomeStore(Path(folder), "0" * 64)
        text = {"rows": [[1, *[0.5] * 8]], "scores": {"seconds": 1.0}, "cpu": 1.0}
        outcomes.save(job, {}, text)
        content, original = bytearray(outcomes.path(job).read_bytes()), outcomes.load_training(job)
        content[place % len(content)] ^= 1 << bit
        outcomes.path(job).write_bytes(content)
        assert (
            not outcomes.has(job) or outcomes.load_training(job) == original
        )  # some bits of an archive have no meaning


def test_a_folder_in_the_place_of_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "runs" / f"{EXPERIMENTS['003-sanity'].jobs(small=True)[0].key}.npz"
    place.mkdir(parents=True)
    assert reproduce_here(["003-sanity", "--out", str(tmp_path)]) == 1
    assert f"{place} is a folder" in sentence(capsys)


@pytest.mark.parametrize("missing", ["rows", "scores", "cpu"])
def test_an_outcome_without_an_entry_is_missing(missing: str, tmp_path: Path) -> None:
    job, outcomes = TrainingJob(Settings()), OutcomeStore(tmp_path, "0" * 64)
    text = {"rows": [], "scores": {"seconds": 1.0}, "cpu": 1.0}
    outcomes.save(job, {}, text)
    assert outcomes.has(job)
    outcomes.save(job, {}, {name: value for name, value in text.items() if name != missing})
    assert not outcomes.has(job)


def test_an_outcome_with_old_names_of_settings_is_found(tmp_path: Path) -> None:
    job, outcomes = TrainingJob(Settings()), OutcomeStore(tmp_path, "0" * 64)
    assert job.key == "softmax-4bc21a86f73b13de"
    outcomes.save(job, {}, {"rows": [], "scores": {"seconds": 1.0}, "cpu": 1.0})
    arrays, text = load_checkpoint(outcomes.path(job))
    settings = text["of"]["job"]["settings"]
    settings["pixels"] = settings.pop("preprocessing")
    save_checkpoint(outcomes.path(job), arrays, text)
    assert outcomes.has(job)


def test_an_outcome_without_a_setting_that_was_added_later_is_found(tmp_path: Path) -> None:
    job, outcomes = TrainingJob(Settings()), OutcomeStore(tmp_path, "0" * 64)
    outcomes.save(job, {}, {"rows": [], "scores": {"seconds": 1.0}, "cpu": 1.0})
    arrays, text = load_checkpoint(outcomes.path(job))
    del text["of"]["job"]["settings"]["loss"]
    save_checkpoint(outcomes.path(job), arrays, text)
    assert outcomes.has(job)


def test_the_outcome_of_another_loss_is_not_taken_for_this_one(tmp_path: Path) -> None:
    job, outcomes = TrainingJob(Settings()), OutcomeStore(tmp_path, "0" * 64)
    other = TrainingJob(Settings(loss="binary-cross-entropy"))
    outcomes.save(other, {}, {"rows": [], "scores": {"seconds": 1.0}, "cpu": 1.0})
    outcomes.path(other).rename(outcomes.path(job))
    assert not outcomes.has(job)


def test_another_seed_is_another_job() -> None:
    job = trainings(small=False)[0]
    assert TrainingJob(replace(job.settings, seed=99)).key != job.key


def test_an_incomplete_page_does_not_replace_one_of_the_documentation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, small_report: Path
) -> None:
    docs, complete = tmp_path / "docs", small_report / "docs" / "reports" / "report_000.md"
    (docs / "reports").mkdir(parents=True)
    copy = docs / "reports" / "report_000.md"
    copy.write_bytes(complete.read_bytes())
    assert reproduce_here(["000-gradients", "--out", str(tmp_path / "out"), "--docs", str(docs)]) == 0
    assert copy.read_bytes() == complete.read_bytes()
    assert "report_000.md has 000-softmax, which this folder lacks; the page was not replaced" in caplog.text


@pytest.mark.slow
def test_pages_are_utf_8_in_any_locale(tmp_path: Path, small_report: Path) -> None:
    name, source, copied = "003-one-cycle", small_report / "out", tmp_path / "copied"
    (copied / "runs").mkdir(parents=True)
    shutil.copy(source / "data.json", copied)
    for job in EXPERIMENTS[name].jobs(small=True):
        shutil.copy(source / "runs" / f"{job.key}.npz", copied / "runs")
    command = [sys.executable, "-m", "tinygrad_cifar", "reproduce", name, "--out", str(copied), "--workers", "1"]
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    docs = tmp_path / "docs"
    done = subprocess.run([*command, "--docs", str(docs)], env=plain, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("0 runs done")
    assert " ± " in (docs / "reports" / "report_003.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_reproduce_does_not_need_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert reproduce_here(["003-sanity", "--out", str(tmp_path)]) == 0
    assert outcomes(tmp_path)


def test_importing_reproduce_does_not_import_the_search() -> None:
    program = "import sys, tinygrad_cifar.experiments.reproduce; print('tinygrad_cifar.search' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "False"
