"""The problems of GradBench, the successor of Microsoft's ADBench: one module for each.

A module says which problem it is, where it is defined, and what is implemented. It has the inputs, drawn from a seed,
the functions of GradBench for every library (:mod:`benchmarks.libraries`), a reference that is derived by hand
or by the complex step, and the figures that its authors state. :mod:`benchmarks.problems.measurement` compares and
times them.
"""
