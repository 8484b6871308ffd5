"""The page on graphs: its pictures are those that its example draws."""

from __future__ import annotations

import pytest

from docs import graphs


@pytest.fixture(scope="module", name="example")
def _example():
    return graphs.run_example()


def test_the_picture_of_the_example_is_up_to_date(example):
    assert (graphs.IMAGES / "two-layer.svg").read_text() == example["view"].to_svg() + "\n"


def test_the_picture_of_the_deep_network_is_up_to_date():
    text = graphs.draw_deep()
    assert "Folded to fit a page" in text
    assert (graphs.IMAGES / "deep.svg").read_text() == text + "\n"


def test_the_page_that_steps_through_the_example_is_up_to_date(example, tmp_path):
    example["view"].to_html(tmp_path / "steps.html")
    assert graphs.STEPS.read_text() == (tmp_path / "steps.html").read_text()


def test_the_layers_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    graphs.draw_layers(tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 50_000
    assert (graphs.IMAGES / "layers.png").is_file()
