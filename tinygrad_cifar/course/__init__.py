"""Classifiers of the course: models, training, evaluation, storage and figures.

In the order of a run:

- :mod:`settings <tinygrad_cifar.course.settings>` define it; they are declared with
  :mod:`setting_fields <tinygrad_cifar.course.setting_fields>`.
- :mod:`preparation <tinygrad_cifar.course.preparation>` splits and preprocesses the data.
- :mod:`models <tinygrad_cifar.course.models>` and :mod:`convnet <tinygrad_cifar.course.convnet>` are the classifiers.
- :mod:`training <tinygrad_cifar.course.training>` has the function ``fit``. Its state is in
  :mod:`training_loop <tinygrad_cifar.course.training_loop>`, its batches come from
  :mod:`sources <tinygrad_cifar.course.sources>`, and its measurements form a
  :mod:`history <tinygrad_cifar.course.history>`, with :mod:`layer_statistics <tinygrad_cifar.course.layer_statistics>`
  if wanted. :mod:`progress <tinygrad_cifar.course.progress>` shows it.
- :mod:`run_checkpoints <tinygrad_cifar.course.run_checkpoints>` stores an unfinished run, and
  :mod:`run_identity <tinygrad_cifar.course.run_identity>` says whether a checkpoint belongs to a run.
- :mod:`evaluation <tinygrad_cifar.course.evaluation>` computes metrics, and
  :mod:`ensembles <tinygrad_cifar.course.ensembles>` averages views of images and several models.
- :mod:`runs <tinygrad_cifar.course.runs>` combines all of these, after
  :mod:`memory_check <tinygrad_cifar.course.memory_check>`.
- :mod:`model_files <tinygrad_cifar.course.model_files>` stores a trained model, and
  :mod:`plotting <tinygrad_cifar.course.plotting>` draws the figures.
"""
