"""The pictures of graphs.md: ``python -m docs.graphs`` draws them again.

The picture of the two-layer network and the page that steps through it are made from the example of graphs.md itself.
"""

from __future__ import annotations

import doctest
import linecache
import re
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_cifar as tg
from tinygrad_cifar import models, optim, training

FOLDER = Path(__file__).parent
IMAGES = FOLDER / "images" / "graphs"
STEPS = FOLDER / "_static" / "two-layer-steps.html"
_EXAMPLE = "two_layer.py"  # the name of the example in the pictures


def run_example() -> dict[str, Any]:
    """Run the first example of graphs.md, as a file of its own, and return its variables."""
    (block, *_) = re.findall(r"^```python\n(.*?)^```$", (FOLDER / "graphs.md").read_text(), re.MULTILINE | re.DOTALL)
    source = "".join(example.source for example in doctest.DocTestParser().get_examples(block))
    linecache.cache[_EXAMPLE] = (len(source), None, source.splitlines(keepends=True), _EXAMPLE)
    variables: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, _EXAMPLE, "exec"), variables)  # noqa: S102 (our own page)
    return variables


def draw_deep() -> str:
    """Return the picture of a network with eight hidden layers, folded."""
    model = models.Perceptron([32, *[16] * 8, 3], rng=0)
    X, labels = np.random.default_rng(0).normal(size=(20, 32)), np.arange(20) % 3
    with tg.trace_graph():
        J = model.cost(X, labels, 0.01)
    return tg.graph(J).to_svg()


def draw_layers(path: Path) -> None:
    """Draw the statistics of the layers of a network with three hidden layers."""
    from tinygrad_cifar.course import plotting  # noqa: PLC0415 (needs matplotlib)

    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 20))
    labels = (X[:, :3].sum(axis=1) > 0).astype(int)
    model = models.Perceptron([20, 40, 40, 40, 2], rng=0)
    history = training.fit(
        model,
        optim.Adam(model.parameters(), 0.003),
        (X, labels),
        epochs=10,
        batch_size=50,
        rng=0,
        layer_statistics=True,
    )
    heading = plotting.Heading("Activations and gradients", "three hidden layers of 40 ReLUs, Adam, eta 0.003")
    plotting.save_figure(plotting.plot_layers(heading, history), path)


def main() -> None:
    """Draw all pictures."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    variables = run_example()  # the view does not keep the graph
    view = variables["view"]
    (IMAGES / "two-layer.svg").write_text(view.to_svg() + "\n", encoding="utf-8")
    (IMAGES / "deep.svg").write_text(draw_deep() + "\n", encoding="utf-8")
    view.to_html(STEPS)
    draw_layers(IMAGES / "layers.png")


if __name__ == "__main__":
    main()
