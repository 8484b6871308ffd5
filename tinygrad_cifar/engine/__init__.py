"""Automatic differentiation: tensors, primitives, the backward pass, and what is built on them alone."""
