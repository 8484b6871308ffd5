"""The figures of the reports, drawn from results with drawn numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")

from tests.support.some_results import CLASS_NAMES, some_history, some_outcome, some_results  # noqa: E402
from tinygrad_cifar.course.settings import Settings  # noqa: E402
from tinygrad_cifar.experiments import figure_specs as specs  # noqa: E402
from tinygrad_cifar.experiments.declaration import PublishedAccuracy  # noqa: E402
from tinygrad_cifar.experiments.outcomes import CheckOutcome  # noqa: E402

TWO = {"lambda 0": Settings(epochs=4), "lambda 1": Settings(epochs=4, lam=1.0)}


def with_history(**options):
    return some_results(outcomes={"one": [replace(some_outcome(), history=some_history(**options))]})


def heading(figure):
    title, details = (text.get_text() for text in figure.texts)
    return title, details.replace("\n", " ")


# -- curves ------------------------------------------------------------------------------------------------------------


def test_loss_and_cost_are_drawn_for_each_part():
    results = with_history(lam=0.5)
    (axes,) = specs.LossCurves("Loss").draw(results).axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "loss and cost", "")
    columns = ("train_loss", "validation_loss", "train_cost", "validation_cost")
    labels = ["training loss", "validation loss", "training cost", "validation cost"]
    assert [line.get_label() for line in axes.lines] == labels
    history = results.trained["one"][0].history
    for line, column in zip(axes.lines, columns, strict=True):
        np.testing.assert_array_equal(line.get_xdata(), history.column("epoch"))
        np.testing.assert_array_equal(line.get_ydata(), history.column(column))
    assert [line.get_linestyle() for line in axes.lines] == ["-", "--", "-", "--"]
    assert len({line.get_color() for line in axes.lines}) == 4


def test_a_cost_without_lambda_is_drawn_once():
    (axes,) = specs.LossCurves("Loss").draw(with_history(lam=0.0)).axes
    assert axes.get_ylabel() == "loss, equal to the cost"
    assert [line.get_label() for line in axes.lines] == ["training", "validation"]


def test_missing_measurements_are_not_drawn():
    (axes,) = specs.LossCurves("Loss").draw(with_history(validation=False)).axes
    assert [line.get_label() for line in axes.lines] == ["training loss", "training cost"]


def test_the_accuracy_is_in_percent():
    results = with_history()
    (axes,) = specs.AccuracyCurves("Accuracy").draw(results).axes
    history = results.trained["one"][0].history
    assert axes.get_ylabel() == "accuracy in %"
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), 100 * history.column("train_accuracy"))
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), 100 * history.column("validation_accuracy"))


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (3, (2, 2))])
def test_each_run_has_a_panel_in_rows_of_two(count, shape):
    results = some_results({f"run {i}": Settings(epochs=4) for i in range(count)}, seeds=2)
    figure = specs.AccuracyCurves("Accuracy").draw(results)
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in drawn] == ([f"run {i}" for i in range(count)] if count > 1 else [""])
    assert drawn[0].get_subplotspec().get_geometry()[:2] == shape
    first = next(iter(results.trained.values()))[0].history  # of seed 0
    np.testing.assert_array_equal(drawn[0].lines[0].get_ydata(), 100 * first.column("train_accuracy"))


@pytest.mark.parametrize(("kind", "shared"), [(specs.LossCurves, False), (specs.AccuracyCurves, True)])
def test_accuracies_share_a_scale_and_losses_do_not_by_default(kind, shared):
    outcomes = {
        name: [replace(some_outcome(), history=some_history(seed=i, lam=9.0 * i))] for i, name in enumerate(TWO)
    }
    results = some_results(TWO, outcomes=outcomes)
    left, right = kind("A title").draw(results).axes
    assert (left.get_ylim() == right.get_ylim()) == shared
    left, right = kind("A title", shared=not shared).draw(results).axes
    assert (left.get_ylim() == right.get_ylim()) == (not shared)


def test_the_learning_rate_of_every_update_is_drawn():
    settings = Settings(epochs=4, eta=0.5, decay=0.5, schedule="exponential")
    results = some_results({"a": Settings(), "b": settings}, outcomes={"a": [], "b": [some_outcome(0, settings)]})
    (axes,) = specs.RateCurve("Rate", "b").draw(results).axes
    rates = axes.lines[0].get_ydata()
    assert len(rates) == 40  # the steps of the outcome
    np.testing.assert_allclose(rates, np.repeat(0.5 * 0.5 ** np.arange(4.0), 10))


# -- images and histograms ---------------------------------------------------------------------------------------------


def test_the_templates_of_a_run_are_those_of_seed_0():
    results = some_results(TWO, seeds=2)
    spec = specs.Templates("Weights", "lambda 1")
    figure = spec.draw(results)
    assert spec.slug == "weights-lambda-1"
    assert heading(figure)[0] == "Weights: lambda 1"
    assert [text.get_text() for text in figure.axes[0].texts] == list(CLASS_NAMES)
    weights = results.trained["lambda 1"][0].arrays["W"][:, 0].reshape(3, 32, 32).transpose(1, 2, 0)
    expected = (weights - weights.min()) / (weights.max() - weights.min())
    np.testing.assert_allclose(figure.axes[0].images[0].get_array()[9:41, :32], expected, atol=1e-12)


def test_the_templates_of_a_class_are_those_of_all_runs_in_a_row():
    results = some_results(TWO)
    figure = specs.ClassTemplates("Weights", 3).draw(results)
    assert heading(figure)[0] == "Weights: class 3"
    assert [text.get_text() for text in figure.axes[0].texts] == list(TWO)
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape[1] == 2 * 35 - 3
    weights = results.trained["lambda 1"][0].arrays["W"][:, 3].reshape(3, 32, 32).transpose(1, 2, 0)
    expected = (weights - weights.min()) / (weights.max() - weights.min())
    np.testing.assert_allclose(sheet[9:41, 35:67], expected, atol=1e-12)


def test_histograms_have_the_gradient_of_each_run():
    results = some_results(TWO)
    figure = specs.GradientHistograms("Gradients").draw(results)
    assert [axes.get_title() for axes in figure.axes] == list(TWO)
    assert {axes.get_xlabel() for axes in figure.axes} == {"element of the gradient of W"}
    gradient = results.trained["lambda 0"][0].arrays["gradient"]
    assert sum(bar.get_height() for bar in figure.axes[0].patches) == gradient.size


def test_the_confusion_matrix_is_that_of_the_run():
    results = some_results(TWO)
    figure = specs.Confusion("Final", "lambda 1").draw(results)
    counts = results.trained["lambda 1"][0].arrays["confusion"]
    assert heading(figure)[0] == "Final: true and predicted classes"
    np.testing.assert_allclose(figure.axes[0].images[0].get_array(), 100 * counts / counts.sum(axis=1, keepdims=True))
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(CLASS_NAMES)


@pytest.mark.parametrize("features", [4, 10, 25])
def test_the_matrix_of_errors_has_up_to_ten_features(features):
    errors = np.random.default_rng(0).uniform(size=(features, 3))
    results = some_results({}, checked=[CheckOutcome("a setting", [], errors, 1.0)])
    axes = specs.ErrorMatrix("Errors").draw(results).axes[0]
    shown = min(features, 10)
    np.testing.assert_array_equal(axes.images[0].get_array(), errors.T[:, :shown])
    assert [label.get_text() for label in axes.get_xticklabels()] == [str(i + 1) for i in range(shown)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2", "3"]
    assert axes.texts[0].get_text() == f"{errors[0, 0]:.1e}"


def test_a_check_without_errors_has_no_matrix():
    results = some_results({}, checked=[CheckOutcome("a setting", [], None, 1.0)])
    with pytest.raises(ValueError, match="must be of report 002"):
        specs.ErrorMatrix("Errors").draw(results)


# -- searches ----------------------------------------------------------------------------------------------------------

LAMBDAS = (0.0, 0.01, 0.1, 1.0)
SEARCHED = {f"lambda {lam:g}": Settings(epochs=4, lam=lam) for lam in LAMBDAS}


def searched(*, reported=40.0, **options):
    numbers = tuple(PublishedAccuracy(name, name, "validation", reported) for name in SEARCHED)
    return some_results(SEARCHED, numbers=numbers, **options)


@pytest.mark.parametrize("seeds", [2, 3])
def test_a_search_draws_means_and_deviations_over_lambda(seeds):
    results = searched(seeds=seeds)
    (axes,) = specs.SearchLine("Search", "validation").draw(results).axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_xscale()) == ("lambda", "validation accuracy in %", "log")
    rows = results.comparisons()[1:]  # without lambda 0
    _, labels = axes.get_legend_handles_labels()
    (reproduced,) = axes.containers
    reported = axes.lines[-1]
    np.testing.assert_array_equal(reproduced.lines[0].get_xdata(), LAMBDAS[1:])
    np.testing.assert_allclose(reproduced.lines[0].get_ydata(), [row.mean for row in rows])
    lengths = [np.ptp(segment[:, 1]) / 2 for segment in reproduced.lines[2][0].get_segments()]
    np.testing.assert_allclose(lengths, [row.spread for row in rows])
    assert sorted(labels) == ["reported, one run each", f"reproduced, mean of {seeds} seeds with standard deviation"]
    np.testing.assert_array_equal(reported.get_ydata(), [40.0] * 3)
    assert reproduced.lines[0].get_color() != reported.get_color()


def test_a_search_with_one_seed_says_so():
    (axes,) = specs.SearchLine("Search", "validation").draw(searched()).axes
    assert axes.get_legend_handles_labels()[1] == ["reproduced, one run each", "reported, one run each"]


@pytest.mark.parametrize("options", [{"small": True}, {"reported": None}])
def test_values_that_cannot_be_compared_are_not_drawn(options):
    (axes,) = specs.SearchLine("Search", "validation").draw(searched(**options)).axes
    assert axes.get_legend_handles_labels()[1] == ["reproduced, one run each"]


ROWS = ("lambda, batch", ("lambda 0, batch 8", "lambda 1, batch 8"))
COLUMNS = ("eta", ("eta 1", "eta 2", "eta 3"))
GRID = {f"{row}, {column}": Settings(epochs=4) for row in ROWS[1] for column in COLUMNS[1]}


def test_a_map_has_the_mean_of_each_cell_and_the_reported_values():
    number = PublishedAccuracy("x", "lambda 1, batch 8, eta 3", "test", 45.5)
    results = some_results(
        GRID, seeds=2, numbers=(number, replace(number, quantity="train", run="lambda 0, batch 8, eta 1"))
    )
    figure = specs.SearchMap("A map", "test", ROWS, COLUMNS).draw(results)
    axes = figure.axes[0]
    means = [
        [np.mean([run.accuracy("test") for run in results.trained[f"{r}, {c}"]]) for c in COLUMNS[1]] for r in ROWS[1]
    ]
    np.testing.assert_allclose(axes.images[0].get_array(), means)
    texts = [f"{mean:.2f}" for row in means for mean in row]
    assert [text.get_text() for text in axes.texts] == [*texts[:5], f"{texts[5]}\n(45.50)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0, 8", "1, 8"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
    assert figure.axes[1].get_ylabel() == "test accuracy in %"
    assert heading(figure)[0] == "A map in % (reported in brackets)"


def test_a_map_of_small_results_has_no_reported_values():
    number = PublishedAccuracy("x", "lambda 1, batch 8, eta 3", "test", 45.5)
    figure = specs.SearchMap("A map", "test", ROWS, COLUMNS).draw(some_results(GRID, small=True, numbers=(number,)))
    assert heading(figure)[0] == "A map in %"
    assert not any("(" in text.get_text() for text in figure.axes[0].texts)


# -- headings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seeds", "more", "mean", "expected"),
    [
        (1, {}, False, ""),
        (1, {}, True, ""),
        (3, {}, False, " The run with seed 0."),
        (3, {}, True, " Means of 3 seeds."),
        (2, {"lambda 1": 5}, True, " Means of 2 or 5 seeds."),
        (1, {"lambda 1": 5}, False, " The run with seed 0."),
    ],
)
def test_the_heading_names_data_origin_and_seeds(seeds, more, mean, expected):
    outcomes = {name: [some_outcome(k) for k in range(more.get(name, seeds))] for name in TWO}
    results = some_results(TWO, seeds=seeds, more_seeds=more, outcomes=outcomes)
    if mean:
        columns = ("", tuple(TWO))
        results = replace(results, trained={f"r, {name}": runs for name, runs in outcomes.items()})
        figure = specs.SearchMap("A map", "test", ("row", ("r",)), columns).draw(results)
    else:
        figure = specs.AccuracyCurves("Curves").draw(results)
    assert heading(figure)[1] == f"some data. Report 003, Table 1. A title.{expected}"


@pytest.mark.parametrize(
    ("run", "slug"), [("Eta 0.1, λ 1", "eta-0.1-1"), ("a  b", "a-b"), ("(x)", "x"), ("one", "one")]
)
def test_the_name_of_a_file_has_simple_characters(run, slug):
    assert specs.Templates("", run).slug == f"weights-{slug}"


# -- filters and bars --------------------------------------------------------------------------------------------------


def test_filters_are_drawn_as_images():
    outcome = replace(some_outcome(), arrays={"filters": np.random.default_rng(0).normal(size=(3072, 7))})
    figure = specs.Filters("Filters", run="one").draw(some_results(outcomes={"one": [outcome]}))
    assert heading(figure)[0] == "Filters: one"
    assert figure.axes[0].images[0].get_array().shape[1] > 7 * 32


@pytest.mark.parametrize("quantity", ["test", "seconds"])
def test_bars_are_the_means_over_the_seeds(quantity):
    results = some_results(TWO, seeds=3)
    figure = specs.Bars("Bars", quantity).draw(results)
    (axes,) = figure.axes
    found = [bar.get_height() for bar in axes.patches]
    expected = [
        np.mean([run.cpu if quantity == "seconds" else run.accuracy("test") for run in runs])
        for runs in results.trained.values()
    ]
    assert found == pytest.approx(expected)
    assert axes.get_ylabel() == ("seconds of processor time" if quantity == "seconds" else "test accuracy in %")
    assert [label.get_text() for label in axes.get_xticklabels()] == list(TWO)


def test_the_files_of_bars_differ_by_their_quantity():
    assert specs.Bars("Bars", "test").slug != specs.Bars("Bars", "seconds").slug
