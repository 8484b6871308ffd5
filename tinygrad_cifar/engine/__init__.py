"""Reverse-mode automatic differentiation; what to read, and in which order.

Four ideas are enough to read the engine:

- A **value** is an array and, if it was recorded, a *node*. :class:`~tinygrad_cifar.engine.tensor.Tensor` is a value
  with operators and methods.
- A **node** records how a value was computed: by which primitive, and one edge for each input that needs a gradient. An
  edge is ``(parent node, VJP, saved arrays)``. A leaf, such as a parameter, is a node without edges.
- A **primitive** is one entry of the derivative table: a NumPy function and, for each differentiable input, its
  vector-Jacobian product (VJP). The parameter names of a VJP declare the arrays that are saved for it. Without its
  description, an entry reads::

      multiply = binary("multiply", np.multiply, x=lambda g, y: g * y, y=lambda g, x: g * x)

  Here ``g`` is the cotangent of the result: the derivative of the final scalar with respect to it.
- The **backward pass** visits the nodes behind a result, each after all nodes that were computed from it, and applies
  the VJPs on its edges. The results that reach a node along several edges are added.

``x * y`` backward, step by step: applying ``multiply`` computes ``np.multiply``, and makes a node with the edges
``(node of x, VJP for x, (y,))`` and ``(node of y, VJP for y, (x,))``. The backward pass takes the cotangent ``g`` of
the product, computes ``g * y`` for ``x`` and ``g * x`` for ``y``, sums over the axes along which an input was
broadcast, and adds the results to the gradients of ``x`` and ``y``. VJPs are written with the library's own operations,
so the same VJP that computes with arrays can also be applied to values: then it is recorded, and can be differentiated
again.

Modules in reading order. These five define differentiation; at run time most operations take the fast paths, which do
the same as ``application``:

1. :mod:`~tinygrad_cifar.engine.graph`: values, nodes, primitives and VJPs: the data structures.
2. :mod:`~tinygrad_cifar.engine.application`: how a primitive is applied: compute, record, notify.
3. :mod:`~tinygrad_cifar.engine.primitives`: ``primitive(...)``, which makes an entry of the table.
4. :mod:`~tinygrad_cifar.engine.ops.elementwise`: one part of the table; the others are in the same package.
5. :mod:`~tinygrad_cifar.engine.backprop`: the backward pass, ``grad`` and ``backward``.

Beside them:

- :mod:`~tinygrad_cifar.engine.fast_paths`: the definition of ``application`` again, specialised for speed.
- :mod:`~tinygrad_cifar.engine.modes`: ``no_grad``, watchers.
- :mod:`~tinygrad_cifar.engine.parts`: contributions to one cotangent that are added together.
- :mod:`~tinygrad_cifar.engine.hooks`: functions that a backward pass calls with the gradient of a tensor.
- :mod:`~tinygrad_cifar.engine.ownership`: which arrays may be shared, and which are copied.
- :mod:`~tinygrad_cifar.engine.operations`, :mod:`~tinygrad_cifar.engine.documentation`: type and help text of an
  operation.
- :mod:`~tinygrad_cifar.engine.axes`, :mod:`~tinygrad_cifar.engine.signatures`: axis arguments, argument names.
- :mod:`~tinygrad_cifar.engine.blocked`: how large products, convolutions and normalisations are computed: in blocks, on
  all cores.
- :mod:`~tinygrad_cifar.engine.locations`: the line of the program that called an operation.

On top of them:

- :mod:`~tinygrad_cifar.engine.tensor`, :mod:`~tinygrad_cifar.engine.numpy_protocol`: tensors, and NumPy's functions of
  them.
- :mod:`~tinygrad_cifar.engine.derivatives`: Jacobians, Hessians and their products with vectors.
- :mod:`~tinygrad_cifar.engine.gradcheck`: comparison with numerical gradients.
- :mod:`~tinygrad_cifar.engine.tracing`: where a NaN was computed, and which elements lie on a kink.
"""
