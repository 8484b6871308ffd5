"""Benchmarks: a training step of this library, of alternatives and of the bare NumPy kernels.

Run ``python -m benchmarks`` in the root of the repository; ``--help`` lists the parts.
"""
