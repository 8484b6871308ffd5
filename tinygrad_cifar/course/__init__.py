"""The classifiers of the course, and how they are trained, evaluated, saved and drawn.

In the order of a run: :mod:`settings <tinygrad_cifar.course.settings>` define it,
:mod:`preparation <tinygrad_cifar.course.preparation>` splits and preprocesses the data,
:mod:`models <tinygrad_cifar.course.models>` are the classifiers, :mod:`training <tinygrad_cifar.course.training>` is the
loop, :mod:`evaluation <tinygrad_cifar.course.evaluation>` measures, :mod:`runs <tinygrad_cifar.course.runs>` puts these
together, :mod:`model_files <tinygrad_cifar.course.model_files>` stores a trained model and
:mod:`plotting <tinygrad_cifar.course.plotting>` draws the figures.
"""
