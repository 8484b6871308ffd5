"""Classifiers of the course: models, training, evaluation, storage and figures.

In the order of a run: :mod:`settings <tinygrad_cifar.course.settings>` defines it,
:mod:`preparation <tinygrad_cifar.course.preparation>` splits and preprocesses the data,
:mod:`models <tinygrad_cifar.course.models>` contains the classifiers,
:mod:`training <tinygrad_cifar.course.training>` the function ``fit``, whose state is that of
:mod:`training_loop <tinygrad_cifar.course.training_loop>`, and
:mod:`evaluation <tinygrad_cifar.course.evaluation>` the metrics, :mod:`runs <tinygrad_cifar.course.runs>` combines
these, :mod:`model_files <tinygrad_cifar.course.model_files>` stores a trained model and
:mod:`plotting <tinygrad_cifar.course.plotting>` draws the figures. The settings are declared with
:mod:`setting_fields <tinygrad_cifar.course.setting_fields>`.
"""
