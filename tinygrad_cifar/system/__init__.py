"""System services: files, locks, checkpoints, worker processes, and information on the BLAS library.

This package does not depend on tensors, models or data sets.
"""
