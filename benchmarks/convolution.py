"""Time of convolutions: forward pass and both gradients, compared with matrix products and with other libraries.

The matrix products are the lower bound of a convolution that is not computed by a transform: of the patches with the
filters, of the cotangent with the filters, and of the patches with the cotangent, each with its arrays in place.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread
from typing import Any, NamedTuple

import numpy as np

import tinygrad_cifar as tg
from benchmarks.agreement import relative_error
from benchmarks.implementations import OURS, TORCH
from benchmarks.options import Options
from benchmarks.threads import blas_threads
from benchmarks.timing import Spread, fastest, ratio, spread, time_interleaved
from benchmarks.workloads import Array
from tinygrad_cifar.engine.blocked import convolution as blocked
from tinygrad_cifar.engine.blocked.windows import Geometry
from tinygrad_cifar.system.blas import usable_cores

PRODUCTS, MYGRAD = "matrix products", "MyGrad"
FANCY, FANCY_LAST = "fancy indexing", "the same, channels last"
FACES = ("forward", "gradient of the input", "gradient of the filters")
_LAYOUTS = ("contiguous", "channels last")  # of PyTorch
_WINDOW, _PADDING = 3, 1
_TOLERANCE = 1e-4  # of results, relative to the largest: float32, sums of up to 60,000 products

Results = tuple[Array, Array, Array]
Step = Callable[[], Any]


class Shape(NamedTuple):
    """A convolution with filters of 3 x 3 and a padding of 1.

    Attributes
    ----------
    side : int
        Rows and columns of an image.
    channels, filters : int
        Channels of the images and of the results.
    """

    side: int
    channels: int
    filters: int

    def __str__(self) -> str:
        return f"{self.side}x{self.side}, {self.channels} -> {self.filters}"

    @property
    def operations(self) -> int:
        """Floating-point operations of one image, forward and both gradients."""
        return 3 * 2 * self.side**2 * _WINDOW**2 * self.channels * self.filters


# Those of the network of the records with most operations, for which there are targets; the last is small.
JUDGED = (Shape(31, 24, 64), Shape(15, 64, 64), Shape(15, 64, 256), Shape(7, 256, 256))
SHAPES = (*JUDGED, Shape(3, 256, 256))
_SMALL_SHAPES = (Shape(5, 4, 6), Shape(3, 6, 8))


class _Arrays:
    """Images, filters and a cotangent of the result, channels last and channels first."""

    def __init__(self, shape: Shape, count: int) -> None:
        rng = np.random.default_rng(1)
        side, channels, filters = shape
        self.shape, self.count = shape, count
        self.x = rng.standard_normal((count, side, side, channels), np.float32)
        self.w = rng.standard_normal((_WINDOW, _WINDOW, channels, filters), np.float32)
        self.g = rng.standard_normal((count, side, side, filters), np.float32)

    def first(self, count: int) -> _Arrays:
        """Return the arrays of the first images."""
        arrays = _Arrays(self.shape, 0)
        arrays.count, arrays.x, arrays.w, arrays.g = count, self.x[:count], self.w, self.g[:count]
        return arrays

    def channels_first(self) -> Results:
        """Return copies in the order of PyTorch."""
        ordered = (self.x.transpose(0, 3, 1, 2), self.w.transpose(3, 2, 0, 1), self.g.transpose(0, 3, 1, 2))
        x, w, g = (np.ascontiguousarray(array) for array in ordered)
        return x, w, g


def measure(options: Options, say: Callable[[str], None]) -> dict[str, Any]:
    """Time the convolutions of the network of the records, float32, on all cores.

    Returns
    -------
    dict
        ``cores``: number of threads. ``missing``: libraries that are not installed. ``rows``: for each ``shape`` the
        number of ``images`` and ``few_images`` (of the slow implementations), the ``seconds`` of an image in each round
        for each implementation, the seconds of each face for this library and the products (``faces``), the ``layout``
        that is faster in PyTorch, and those ``left_out`` with the reason.
    """
    result: dict[str, Any] = {"cores": usable_cores(), "missing": [], "rows": []}
    makers = {name: make for name, make in (SLOW | _UNJUDGED).items() if name not in options.without}
    result["missing"] = [name for name, make in makers.items() if not _is_installed(make)]
    makers = {name: make for name, make in makers.items() if name not in result["missing"]}
    for shape in _SMALL_SHAPES if options.quick else SHAPES:
        result["rows"].append(_row(shape, makers, options))
        say("\n".join(_block(result["rows"][-1], result["cores"])))
    if result["missing"]:
        say(f"not installed: {', '.join(result['missing'])}\n")
    return result


def _is_installed(make: Callable[[_Arrays], Any]) -> bool:
    try:
        make(_Arrays(_SMALL_SHAPES[0], 1))
    except ImportError:
        return False
    return True


def _row(shape: Shape, makers: dict[str, Callable[[_Arrays], Any]], options: Options) -> dict[str, Any]:
    images, few, rounds = (2, 1, 2) if options.quick else (64, 8, 15)
    arrays = _Arrays(shape, images)
    few_arrays = arrays.first(few)
    ours, expected = _ours(arrays), _fancy_last(few_arrays)()
    if not (error := relative_error(_ours(few_arrays)(), expected)) <= _TOLERANCE:
        raise ArithmeticError(f"results for {shape} differ from those of {FANCY_LAST} (relative error {error:.1e})")
    products = _Products(arrays, usable_cores())
    steps: dict[str, tuple[Step, int]] = {OURS: (ours, images), PRODUCTS: (products.run_all, images)}
    layout, left_out = None, {}
    for name, make in makers.items():
        checked = make(few_arrays)
        candidates = checked if isinstance(checked, dict) else {"": checked}
        error = max(relative_error(step(), expected) for step in candidates.values())
        if error > _TOLERANCE:
            left_out[name] = f"{name}: results differ from those of {FANCY_LAST} (relative error {error:.1e})"
        elif name == TORCH:
            by_layout = make(arrays)
            layout = fastest(by_layout)
            steps[name] = (by_layout[layout], images)
        else:
            steps[name] = (checked, few)
    times = time_interleaved([step for step, _ in steps.values()], rounds, warm=1)
    by_face = time_interleaved([*_faces(arrays), *products.faces()], rounds, warm=1)
    return {
        "shape": list(shape),
        "images": images,
        "few_images": few,
        "seconds": {
            name: [t / count for t in taken] for (name, (_, count)), taken in zip(steps.items(), times, strict=True)
        },
        "faces": {
            name: [[t / images for t in taken] for taken in by_face[start : start + 3]]
            for name, start in ((OURS, 0), (PRODUCTS, 3))
        },
        "layout": layout,
        "left_out": left_out,
    }


# -- the implementations -----------------------------------------------------------------------------------------------
# Each returns the convolution, the gradient of the images and that of the filters, in the layout of this library.


def _ours(arrays: _Arrays) -> Callable[[], Results]:
    x, w = tg.Tensor(arrays.x, requires_grad=True), tg.Tensor(arrays.w, requires_grad=True)

    def step() -> Results:
        x.grad = w.grad = None
        y = tg.conv2d(x, w, padding=_PADDING)
        y.backward(arrays.g)
        return y.data, np.asarray(x.grad), np.asarray(w.grad)

    return step


def _faces(arrays: _Arrays) -> list[Step]:
    """Return the three functions of this library that compute the results, without recording."""
    side = arrays.shape.side
    geometry = Geometry(padding=((_PADDING, _PADDING), (_PADDING, _PADDING)))
    return [
        lambda: blocked.convolve(arrays.x, arrays.w, geometry),
        lambda: blocked.input_gradient(arrays.g, arrays.w, (side, side), geometry),
        lambda: blocked.filter_gradient(arrays.x, arrays.g, (_WINDOW, _WINDOW), geometry),
    ]


class _Products:
    """Matrix products of the sizes of a convolution, into arrays that exist, each thread for its share of the images.

    The products with the transpose of the patches are not added up over the threads.
    """

    def __init__(self, arrays: _Arrays, count: int) -> None:
        side, channels, filters = arrays.shape
        rng, window = np.random.default_rng(2), _WINDOW * _WINDOW
        bounds = [arrays.count * i // count for i in range(count + 1)]
        self._shares = []
        for images in np.diff(bounds):
            rows = int(images) * side * side
            patches, turned = (
                rng.standard_normal((rows, window * inputs), np.float32) for inputs in (channels, filters)
            )
            w, turned_w = (
                rng.standard_normal((window * a, b), np.float32) for a, b in ((channels, filters), (filters, channels))
            )
            y = rng.standard_normal((rows, filters), np.float32)
            self._shares.append(
                (
                    (patches, w, np.empty((rows, filters), np.float32)),
                    (turned, turned_w, np.empty((rows, channels), np.float32)),
                    (patches.T, y, np.empty((window * channels, filters), np.float32)),
                )
            )

    def run_all(self) -> None:
        """Compute the three products."""
        self._run(range(3))

    def faces(self) -> list[Step]:
        """Return a function for each product."""
        return [lambda i=i: self._run([i]) for i in range(3)]  # type: ignore[misc]

    def _run(self, which: Any) -> None:
        def work(share: Any) -> None:
            for i in which:
                a, b, out = share[i]
                np.matmul(a, b, out=out)

        with blas_threads(1):
            others = [Thread(target=work, args=(share,)) for share in self._shares[1:]]
            for thread in others:
                thread.start()
            work(self._shares[0])
            for thread in others:
                thread.join()


def _torch(arrays: _Arrays) -> dict[str, Callable[[], Results]]:
    """Return a function for each memory layout."""
    import torch  # noqa: PLC0415 (optional)

    torch.set_num_threads(usable_cores())
    given = [torch.from_numpy(array) for array in arrays.channels_first()]

    def make(memory_format: Any) -> Callable[[], Results]:
        x, w, g = (array.clone(memory_format=memory_format) for array in given)
        x.requires_grad_()
        w.requires_grad_()

        def step() -> Results:
            x.grad = w.grad = None
            y = torch.nn.functional.conv2d(x, w, padding=_PADDING)
            y.backward(g)
            return _channels_last(y.detach().numpy(), x.grad.numpy(), w.grad.numpy())

        return step

    return {
        name: make(kind) for name, kind in zip(_LAYOUTS, (torch.contiguous_format, torch.channels_last), strict=True)
    }


def _mygrad(arrays: _Arrays) -> Callable[[], Results]:
    import mygrad  # noqa: PLC0415 (optional)
    from mygrad.nnet.layers import conv_nd  # noqa: PLC0415

    mygrad.turn_memory_guarding_off()
    images, filters, g = arrays.channels_first()
    x, w = mygrad.tensor(images), mygrad.tensor(filters)

    def step() -> Results:
        with blas_threads(usable_cores()):
            y = conv_nd(x, w, stride=1, padding=_PADDING)
            y.backward(g)
        return _channels_last(y.data, x.grad, w.grad)

    return step


def _fancy(arrays: _Arrays) -> Callable[[], Results]:
    """Gather the patches with arrays of indices as the course CS231n does (``im2col_indices``): channels first."""
    side, channels, filters = arrays.shape
    x, w, g = arrays.channels_first()
    element = np.arange(channels * _WINDOW**2)
    position = np.arange(side**2)
    index = (
        slice(None),
        (element // _WINDOW**2)[:, None],
        (element // _WINDOW % _WINDOW)[:, None] + position // side,
        (element % _WINDOW)[:, None] + position % side,
    )
    padding = ((0, 0), (0, 0), (_PADDING, _PADDING), (_PADDING, _PADDING))

    def step() -> Results:
        with blas_threads(usable_cores()):
            patches = np.pad(x, padding)[index].transpose(1, 2, 0).reshape(len(element), -1)
            y = (w.reshape(filters, -1) @ patches).reshape(filters, side, side, -1).transpose(3, 0, 1, 2)
            columns = g.transpose(1, 2, 3, 0).reshape(filters, -1)
            to_patches = (w.reshape(filters, -1).T @ columns).reshape(len(element), side**2, -1)
            to_images = np.zeros((len(x), channels, side + 2 * _PADDING, side + 2 * _PADDING), np.float32)
            np.add.at(to_images, index, to_patches.transpose(2, 0, 1))
            inside = to_images[:, :, _PADDING:-_PADDING, _PADDING:-_PADDING]
            return _channels_last(y, inside, (columns @ patches.T).reshape(w.shape))

    return step


def _fancy_last(arrays: _Arrays) -> Callable[[], Results]:
    """Gather and add whole vectors of channels with arrays of indices: faster."""
    side, channels, filters = arrays.shape
    positions, window = np.arange(side), np.arange(_WINDOW)
    index = (
        slice(None),
        (positions[:, None] + window)[:, None, :, None],
        (positions[:, None] + window)[None, :, None, :],
    )
    inside = slice(_PADDING, -_PADDING)
    padding = ((0, 0), (_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0))

    def step() -> Results:
        with blas_threads(usable_cores()):
            w, g = arrays.w.reshape(-1, filters), arrays.g.reshape(-1, filters)
            patches = np.pad(arrays.x, padding)[index].reshape(-1, _WINDOW * _WINDOW * channels)
            y = (patches @ w).reshape(arrays.g.shape)
            to_patches = (g @ w.T).reshape(-1, side, side, _WINDOW, _WINDOW, channels)
            to_images = np.zeros((arrays.count, side + 2 * _PADDING, side + 2 * _PADDING, channels), np.float32)
            np.add.at(to_images, index, to_patches)
            return y, to_images[:, inside, inside], (patches.T @ g).reshape(arrays.w.shape)

    return step


SLOW: dict[str, Callable[[_Arrays], Any]] = {MYGRAD: _mygrad, FANCY: _fancy}
_UNJUDGED: dict[str, Callable[[_Arrays], Any]] = {FANCY_LAST: _fancy_last, TORCH: _torch}


def _channels_last(y: Array, x: Array, w: Array) -> Results:
    return y.transpose(0, 2, 3, 1), x.transpose(0, 2, 3, 1), w.transpose(2, 3, 1, 0)


# -- the table ---------------------------------------------------------------------------------------------------------


def share_of_products(row: dict[str, Any]) -> Spread:
    """Return the speed of this library, forward and both gradients, relative to that of the products."""
    return ratio(row["seconds"][PRODUCTS], row["seconds"][OURS])


def lines(result: dict[str, Any]) -> list[str]:
    """Return the tables as lines of text."""
    out = [line for row in result["rows"] for line in _block(row, result["cores"])]
    return [*out, f"not installed: {', '.join(result['missing'])}"] if result["missing"] else out


def _block(row: dict[str, Any], cores: int) -> list[str]:
    shape, seconds = Shape(*row["shape"]), row["seconds"]
    layout = f"; PyTorch: {row['layout']}" if row["layout"] else ""
    out = [
        f"convolution 3x3, {shape}: forward and both gradients, {row['images']} images, {cores} threads{layout}",
        f"  {'':26} {'time to ours':>12} {'quartiles':>16} {'us per image':>13} {'GFLOP/s':>8}",
    ]
    for name, times in seconds.items():
        share, median = ratio(times, seconds[OURS]), spread(times).median
        quartiles = f"{share.low:.2f} - {share.high:.2f}"
        out.append(
            f"  {name:26} {share.median:>12.2f} {quartiles:>16} {1e6 * median:>13,.0f} "
            f"{shape.operations / median / 1e9:>8,.0f}"
        )
    for name, ours, products in zip(FACES, row["faces"][OURS], row["faces"][PRODUCTS], strict=True):
        out.append(f"  {name:26} {ratio(products, ours)} of the speed of its product")
    if few := [name for name in (*SLOW, FANCY_LAST) if name in seconds]:
        out.append(f"  {', '.join(few)}: measured on {row['few_images']} images")
    return [*out, *(f"  left out: {reason}" for reason in row["left_out"].values()), ""]
