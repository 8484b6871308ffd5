"""The machine: files, locks, checkpoints, worker processes, and the BLAS library that NumPy uses.

Nothing here knows about tensors, models or images.
"""
