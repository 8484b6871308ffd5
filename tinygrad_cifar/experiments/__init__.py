"""The published experiments and the records: declared as data, run by one command, and compared with the reports.

- The module of a report declares its experiments, and :mod:`~tinygrad_cifar.experiments.catalogue` lists them.
  :mod:`~tinygrad_cifar.experiments.declaration` defines what an experiment is,
  :mod:`~tinygrad_cifar.experiments.durations` how long it takes, and
  :mod:`~tinygrad_cifar.experiments.small_versions` what it is on the built-in images.
- :mod:`~tinygrad_cifar.experiments.reproduce` runs their :mod:`~tinygrad_cifar.experiments.jobs` (training,
  :mod:`~tinygrad_cifar.experiments.report_checks` of gradients, :mod:`~tinygrad_cifar.experiments.timing`).
- :mod:`~tinygrad_cifar.experiments.outcomes` stores the outcomes, and :mod:`~tinygrad_cifar.experiments.results`
  compares them with the reports.
- :mod:`~tinygrad_cifar.experiments.figure_specs` draws the figures, and :mod:`~tinygrad_cifar.experiments.pages` and
  :mod:`~tinygrad_cifar.experiments.document` write the pages.

To add an experiment, add a declaration.
"""
