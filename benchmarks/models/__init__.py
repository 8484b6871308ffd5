"""Models that users write with the public operations, each beside the same model with gradients derived by hand.

A module has the loss of a model, written once for all libraries (:mod:`benchmarks.libraries`), and the NumPy program
that an expert writes for it: forward pass and all gradients. :mod:`benchmarks.models.measurement` compares and times
them.
"""
