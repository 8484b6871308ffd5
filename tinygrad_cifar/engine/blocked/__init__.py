"""Large computations of NumPy arrays in blocks that stay in the processor's cache, on all cores.

These functions do not depend on tensors or derivatives; the modules of :mod:`tinygrad_cifar.engine.ops` call them.

- :mod:`~tinygrad_cifar.engine.blocked.threads`: running blocks on threads, with the same bits for every number of them.
- :mod:`~tinygrad_cifar.engine.blocked.memory`: memory of large results, used again by the next step.
- :mod:`~tinygrad_cifar.engine.blocked.products`: matrix products.
- :mod:`~tinygrad_cifar.engine.blocked.elementwise`: element-wise functions.
- :mod:`~tinygrad_cifar.engine.blocked.row_sums`: sums over the rows of long and narrow arrays.
- :mod:`~tinygrad_cifar.engine.blocked.short_axes`: reductions over axes of few elements.
- :mod:`~tinygrad_cifar.engine.blocked.windows`: how windows lie on images.
- :mod:`~tinygrad_cifar.engine.blocked.convolution`: a convolution, and the gradients of its input and of its filters.
- :mod:`~tinygrad_cifar.engine.blocked.winograd`: those with filters of 3 x 3, in fewer multiplications.
- :mod:`~tinygrad_cifar.engine.blocked.pooling`: maxima and sums of windows of an image.
- :mod:`~tinygrad_cifar.engine.blocked.normalization`: statistics of channels, and the normalisation by them.
"""
