"""Looking at a recorded graph: a read-only view, pictures, a page to step through, and a profile.

- :mod:`~tinygrad_cifar.inspection.view`: ``graph(loss)``, the view that the other modules use.
- :mod:`~tinygrad_cifar.inspection.nodes`, :mod:`~tinygrad_cifar.inspection.building`: its nodes, and how they are made.
- :mod:`~tinygrad_cifar.inspection.tracing`: ``trace_graph()``, which also records lines, variables and modules.
- :mod:`~tinygrad_cifar.inspection.variables`: the names of tensors in the user's program.
- :mod:`~tinygrad_cifar.inspection.diagram`, :mod:`~tinygrad_cifar.inspection.layout`,
  :mod:`~tinygrad_cifar.inspection.svg`, :mod:`~tinygrad_cifar.inspection.text_formats`: pictures, as SVG, Mermaid
  and DOT.
- :mod:`~tinygrad_cifar.inspection.page`: the page to step through.
- :mod:`~tinygrad_cifar.inspection.profile`: ``profile()``, the time and memory by primitive, direction and line.
"""
