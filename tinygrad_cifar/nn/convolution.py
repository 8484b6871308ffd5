"""Layers of images, channels last: convolution and pooling.

Images have the shape (n, height, width, channels); :func:`tinygrad_cifar.channels_last` converts them from PyTorch's
order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from tinygrad_cifar.engine import ops
from tinygrad_cifar.engine.ops.window_arguments import Padding, Size, as_padding, as_pair, refuse_much_padding
from tinygrad_cifar.engine.tensor import Tensor
from tinygrad_cifar.nn import initialisers
from tinygrad_cifar.nn.module import Module
from tinygrad_cifar.system.generators import RandomState, make_generator
from tinygrad_cifar.system.numbers import check_count


class Conv2d(Module):
    """Convolution of images with learned filters, and a bias per filter.

    Parameters
    ----------
    channels : int
        Channels of the images, at least 1.
    filters : int
        Number of filters, which is the number of channels of the result, at least 1.
    size : int or (int, int)
        Height and width of a filter.
    stride, padding, dilation, groups
        As in :func:`tinygrad_cifar.conv2d`. Default: 1, 0, 1, 1.
    bias : bool
        Whether there are biases. Default: True.
    rng : numpy.random.Generator or int, optional
        Generator from which the filters are sampled, or its seed.
    init : initialiser
        Initialiser of the filters. Default: ``He()``, whose fan-in is the number of elements of a filter.
    dtype : data-type
        Type of the parameters. Default: float64.

    Attributes
    ----------
    W : Tensor, shape (height, width, channels / groups, filters)
        Filters.
    b : Tensor, shape (filters,), or None
        Biases, initially 0.

    Raises
    ------
    ValueError
        If a number is less than 1, or ``groups`` does not divide the channels and the filters.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> layer = nn.Conv2d(3, 8, 3, padding="same", rng=0)
    >>> layer(np.zeros((10, 32, 32, 3))).shape
    (10, 32, 32, 8)
    """

    decays: ClassVar[Mapping[str, bool]] = {"W": True, "b": False}

    def __init__(  # noqa: PLR0913 (keyword-only)
        self,
        channels: int,
        filters: int,
        size: Size,
        *,
        stride: Size = 1,
        padding: Padding = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        rng: RandomState = None,
        init: initialisers.Initialiser = initialisers.He(),  # noqa: B008 (frozen)
        dtype: Any = np.float64,
    ) -> None:
        height, width = as_pair("Conv2d", "size", size)
        for name, pair in (("stride", stride), ("dilation", dilation)):
            as_pair("Conv2d", name, pair)
        as_padding("Conv2d", padding)
        for name, count in (("channels", channels), ("filters", filters), ("groups", groups)):
            check_count(f"Conv2d: {name}", count)
        if channels % groups or filters % groups:
            raise ValueError(f"Conv2d: groups={groups} must divide the {channels} channels and the {filters} filters")
        rng = make_generator("Conv2d", rng)
        shape = (height, width, channels // groups, filters)
        matrix = initialisers.draw_weights("Conv2d", init, rng, height * width * channels // groups, filters)
        self.W = Tensor(matrix.reshape(shape), requires_grad=True, dtype=dtype)
        self.b = Tensor(np.zeros(filters), requires_grad=True, dtype=dtype) if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x: Any) -> Tensor:
        """Return the convolution, of shape (n, height, width, filters)."""
        result: Tensor = ops.conv2d(
            x, self.W, stride=self.stride, padding=self.padding, dilation=self.dilation, groups=self.groups
        )
        return result if self.b is None else result + self.b

    def _arguments(self) -> str:
        height, width, channels, filters = self.W.shape
        size = str(height) if height == width else f"({height}, {width})"
        defaults = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}
        others = [f"{name}={vars(self)[name]!r}" for name, value in defaults.items() if vars(self)[name] != value]
        return ", ".join(map(str, [channels * self.groups, filters, size, *others]))


class _Pool2d(Module):
    """Pooling of images; a subclass says how."""

    def __init__(self, window: Size, *, stride: Size | None = None, padding: Padding = 0) -> None:
        name = type(self).__name__
        pair = as_pair(name, "window", window)
        if stride is not None:
            as_pair(name, "stride", stride)
        refuse_much_padding(name, as_padding(name, padding) or ((0, 0), (0, 0)), pair)
        self.window, self.stride, self.padding = window, stride, padding

    def _arguments(self) -> str:
        others = [f"stride={self.stride!r}"] if self.stride is not None else []
        return ", ".join([repr(self.window), *others, *([f"padding={self.padding!r}"] if self.padding != 0 else [])])


class MaxPool2d(_Pool2d):
    """Maximum of the windows of images.

    Parameters
    ----------
    window : int or (int, int)
        Height and width of a window.
    stride : int or (int, int), optional
        Distance of the windows. Default: the size of a window.
    padding
        As in :func:`tinygrad_cifar.max_pool2d`. Default: 0.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> nn.MaxPool2d(2)(np.zeros((10, 32, 32, 8))).shape
    (10, 16, 16, 8)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the maxima, of shape (n, height, width, channels)."""
        result: Tensor = ops.max_pool2d(x, self.window, stride=self.stride, padding=self.padding)
        return result


class AvgPool2d(_Pool2d):
    """Mean of the windows of images. The parameters are those of :class:`MaxPool2d`.

    Examples
    --------
    >>> import numpy as np
    >>> from tinygrad_cifar import nn
    >>> nn.AvgPool2d(8)(np.zeros((10, 8, 8, 64))).shape
    (10, 1, 1, 64)
    """

    def forward(self, x: Any) -> Tensor:
        """Return the means, of shape (n, height, width, channels)."""
        result: Tensor = ops.avg_pool2d(x, self.window, stride=self.stride, padding=self.padding)
        return result
