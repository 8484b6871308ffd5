"""Mutants that change nothing a user of the module can observe, except its speed, each with the reason.

They are judged by hand, one by one. The keys are the identities that ``python -m tests.evidence.mutants`` prints.
"""

EQUIVALENT: dict[str, str] = {}
