"""Hard cases of automatic differentiation, run through small adapters on every library that is installed.

``python -m tests.evidence.referee`` prints one table, and writes docs/referee.md if every library is installed.

- :mod:`~tests.evidence.referee.adapters`: the same few operations and the gradient, for each library.
- :mod:`~tests.evidence.referee.cases`: the questions, and what counts as a right answer.
- :mod:`~tests.evidence.referee.table`: runs the cases, and formats the table.
"""
