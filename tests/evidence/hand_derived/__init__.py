"""Hand-derived gradients, right and with injected mistakes: an independent measurement of the gradient doctor.

    python -m tests.evidence.hand_derived [--set NAME] [--seed N] [--share S] [--json FILE]

Nothing here was written with knowledge of the doctor's code, and nothing may be changed in favour of it: not the
programs, and not the judge. A held-out set is run once, before the doctor is improved on it; then it becomes a
validation set.

Modules in reading order:

- :mod:`programs`: a cost and its gradient in the words of a student, and the edits that inject a mistake in it.
- :mod:`development`, :mod:`validation`, :mod:`second_validation`, :mod:`third_validation`, :mod:`held_out`: the
  sets of programs, written apart.
- :mod:`cases`: a program with drawn sizes, style, names, layout, precision, container and mistakes; its source is
  written to a file and imported.
- :mod:`numerical`: numerical gradients in plain NumPy. They decide which edits are observably wrong and which are the
  same as another.
- :mod:`judge`: whether a sentence names a mistake: the kind of the mistake and its place.
- :mod:`adapter`: the only module that knows how the doctor is called and how its answer is read.
- :mod:`__main__`: runs the doctor on a set and prints the table.
"""
