"""How fast a training step is here, beside what a person would use instead and beside the limit of the machine.

``python -m benchmarks`` from the repository's root measures everything; ``--help`` names the parts.
"""
