"""Mistakes in the derivative of a loss with respect to the scores: of a softmax or sigmoid, and hinge loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from tinygrad_cifar.doctor.vocabulary.sites import bind_arguments, value_of
from tinygrad_cifar.doctor.walks import Edit, Walk
from tinygrad_cifar.engine.graph import Array


def edits_of_scores(walk: Walk, i: int) -> Iterator[Edit]:
    """Yield the edits of a node whose cotangent is that of a cross-entropy, or of a hinge loss."""
    step = walk.recording.steps[i]
    g = walk.cotangents[i]
    if g is not None and step.op and binary_form(step.value, g) is not None:
        yield from _at_logits(i)
    if g is None or g.ndim != 2 or not g.size or not step.op:
        return
    found = cross_entropy_form(step.value, g)
    if found is not None:
        axis = found[0]
        yield from _at_scores(i, axis)
    elif (of_hinge := hinge_form(step.value, g)) is not None:
        axis = of_hinge
        yield from _at_margins(i, axis)
    elif (of_classes := _one_against_others(g)) is not None:
        axis = of_classes
        yield from _at_own_class(i, axis)
    else:
        return
    for row in (0, -1):
        yield Edit("example_left_out", ("node", i), _without_example(1 - axis, row), cost=1.8, detail={"row": row})
        yield Edit("class_left_out", ("node", i), _without_class(axis, row), cost=1.7, detail={"row": row})


def _without_example(axis: int, row: int) -> Callable[[Walk, Array], Array]:
    def value(_: Walk, g: Array) -> Array:
        g = g.copy()
        g[(row if axis == 0 else slice(None), row if axis == 1 else slice(None))] = 0
        return g

    return value


def _without_class(axis: int, row: int) -> Callable[[Walk, Array], Array]:
    """Return the derivative of which a class is skipped: in a hinge loss, the own class does not count it, either."""

    def value(_: Walk, g: Array) -> Array:
        kept = _without_example(axis, row)(_, g)
        own = (g < 0) & ((g < 0).sum(axis, keepdims=True) == 1)
        is_counted = np.allclose(g.sum(axis), 0, atol=1e-9 * np.abs(g).max()) and (g == 0).any()
        if is_counted:  # the violated margins of the class, unless it is the own one
            skipped = g - kept
            counted: Array = np.where(own, g, kept) + own * np.maximum(skipped, 0).sum(axis, keepdims=True)
            return counted
        return kept

    return value


def softmax_of(scores: Array, axis: int | None) -> Array:
    """Return the softmax of an array along an axis, or of all elements."""
    positive = np.exp(scores - scores.max(axis, keepdims=True))
    result: Array = positive / positive.sum(axis, keepdims=True)
    return result


def _through_softmax(g: Array, P: Array, axis: int) -> Array:
    """Return the VJP of the softmax."""
    result: Array = P * (g - np.sum(g * P, axis, keepdims=True))
    return result


def cross_entropy_form(scores: Array, g: Array) -> tuple[int, Array, Array, Array] | None:
    """Return (axis, P, Y, c) if a cotangent is ``c * (P - Y)``, with the softmax P of the scores and one-hot Y.

    The factor c has one value for each image, so that the images may be weighted.
    """
    if not np.isfinite(g).all() or not np.isfinite(scores).all() or not g.any():
        return None
    for axis in (1, 0):
        if g.shape[axis] < 2 or not np.allclose(g.sum(axis), 0, atol=1e-9 * np.abs(g).max()):
            continue
        P = softmax_of(scores, axis)
        found = _one_hot_form(P, g, axis)
        if found is not None:
            return axis, P, *found
        smoothed = _smoothed_form(P, g, axis)
        if smoothed is not None:
            Y, c = smoothed
            return axis, P, Y, np.full(P.sum(axis, keepdims=True).shape, c)
    return None


def _one_hot_form(P: Array, g: Array, axis: int) -> tuple[Array, Array] | None:
    """Return (Y, c) if a cotangent is ``c * (P - Y)`` with one-hot Y, and factors c of one sign."""
    for sign in (1.0, -1.0):
        # The label is the only element whose sign differs from that of c; the largest other one gives c.
        others = sign * g > 0
        at = np.where(others, P, -1.0).argmax(axis, keepdims=True)
        c = np.take_along_axis(g, at, axis) / np.take_along_axis(P, at, axis)
        is_counted = np.abs(g).max(axis, keepdims=True) > 1e-12 * np.abs(g).max()  # images whose weight is not zero
        Y = np.where(is_counted, P - g / np.where(is_counted, c, 1.0), 0.0)
        is_label = np.abs(Y - 1) < 1e-6
        is_one = (is_label.sum(axis, keepdims=True) == 1) | ~is_counted
        if (is_label | (np.abs(Y) < 1e-6)).all() and is_one.all():
            return np.round(Y), np.where(is_counted, c, 0.0)
    return None


def _smoothed_form(P: Array, g: Array, axis: int) -> tuple[Array, float] | None:
    """Return (Y, c) if a cotangent is ``c * (P - Y)`` with labels Y that have two values, such as 0.05 and 0.9."""
    if g.shape[axis] < 3:
        return None
    first, second = (np.take(array, 0, 1 - axis)[:3] for array in (g, P))
    for a, b in ((0, 1), (0, 2), (1, 2)):
        c = float((first[a] - first[b]) / (second[a] - second[b])) if second[a] != second[b] else 0.0
        if not c or not np.isfinite(c):
            continue
        Y = P - g / c
        low, high = Y.min(), Y.max()
        is_label = np.abs(Y - high) < 1e-6
        if low > -1e-6 and (is_label | (np.abs(Y - low) < 1e-6)).all() and (is_label.sum(axis) == 1).all():
            return np.where(is_label, high, low), c
    return None


def _at_scores(i: int, axis: int) -> Iterator[Edit]:
    """Yield the wrong derivatives of the cross-entropy of a softmax with respect to the scores."""

    def form(function: Callable[[Array, Array, Array], Array]) -> Callable[[Walk, Array], Array | None]:
        def value(walk: Walk, g: Array) -> Array | None:
            scores = value_of(walk, i)
            found = cross_entropy_form(scores, g)
            if found is None or found[0] != axis:
                return None
            _, P, Y, c = found
            return c * function(P, Y, scores)

        return value

    other = 1 - axis
    variants: list[tuple[str, str, Callable[[Array, Array, Array], Array], float]] = [
        ("label_not_subtracted", "P", lambda P, Y, S: P, 1.0),
        ("softmax_without_sum", "-Y", lambda P, Y, S: -Y, 1.0),
        ("softmax_diagonal", "Y * (P - 1)", lambda P, Y, S: Y * (P - 1), 1.0),
        ("softmax_unnormalised", "exp(S) - Y", lambda P, Y, S: np.exp(S) - Y, 1.1),
        (
            "softmax_unnormalised",
            "exp(S - max(S)) - Y",
            lambda P, Y, S: np.exp(S - S.max(axis, keepdims=True)) - Y,
            1.1,
        ),
        ("softmax_unnormalised", "exp(S - max of all S) - Y", lambda P, Y, S: np.exp(S - S.max()) - Y, 1.1),
        ("softmax_of_negative_scores", "softmax(-S) - Y", lambda P, Y, S: softmax_of(-S, axis) - Y, 1.2),
        ("softmax_left_out", "-Y / P", lambda P, Y, S: -Y / P, 1.1),
        ("softmax_wrong_axis", "softmax over the other axis - Y", lambda P, Y, S: softmax_of(S, other) - Y, 1.2),
        ("scores_for_probabilities", "S - Y", lambda P, Y, S: S - Y, 1.2),
        ("extra_derivative", "(P - Y) * P * (1 - P)", lambda P, Y, S: (P - Y) * P * (1 - P), 1.3),
        ("extra_derivative", "(P - Y) * P", lambda P, Y, S: (P - Y) * P, 1.4),
        ("label_in_all_rows", "P - 1 for all labels", lambda P, Y, S: P - Y.max(other, keepdims=True), 1.3),
        ("log_for_probabilities", "log(P) - Y", lambda P, Y, S: np.log(P) - Y, 1.4),
        ("extra_derivative", "through the softmax again", lambda P, Y, S: _through_softmax(P - Y, P, axis), 1.6),
        ("softmax_wrong_axis", "exp(S) / sum of all - Y", lambda P, Y, S: softmax_of(S, None) - Y, 1.3),
        ("label_added", "P + Y", lambda P, Y, S: P + Y, 1.2),
        ("uniform_labels", "P - 1", lambda P, Y, S: P - 1, 1.4),
        ("shifted_labels", "labels of the next class", lambda P, Y, S: P - np.roll(Y, 1, axis), 1.6),
        ("shifted_labels", "labels of the class before", lambda P, Y, S: P - np.roll(Y, -1, axis), 1.6),
        ("labels_of_other_images", "the image before it", lambda P, Y, S: P - np.roll(Y, 1, other), 1.6),
        ("labels_of_other_images", "the image after it", lambda P, Y, S: P - np.roll(Y, -1, other), 1.6),
        ("own_class_assigned", "P, but -1 for the label", lambda P, Y, S: P * (1 - Y) - Y, 1.2),
        ("own_class_assigned", "P, but 1 - P for the label", lambda P, Y, S: P * (1 - Y) + Y * (1 - P), 1.2),
        ("scores_for_gradient", "S", lambda P, Y, S: S, 1.4),
        ("label_in_all_rows", "P - 1 in the rows of the labels", _without_rows(axis), 1.4),
        *[
            ("softmax_shift", text, _of_mixed_shifts(shift, sign), 1.3)
            for text, sign in (("exp(S) / sum(exp(S - {0})) - Y", 1), ("exp(S - {0}) / sum(exp(S)) - Y", -1))
            for text, shift in ((text.format("max(S)"), axis), (text.format("max of all S"), None))
        ],
        ("softmax_wrong_axis", "exp(S - max(S)) / its sum over the other axis - Y", _of_mixed_axes(axis), 1.3),
        ("softmax_twice", "softmax(P) - Y", lambda P, Y, S: softmax_of(P, axis) - Y, 1.4),
    ]

    def hard(Y: Array) -> Array:
        is_label: Array = Y.max(axis, keepdims=True) == Y
        return is_label.astype(float)

    # With labels that are 0 or 1 already, these change nothing.
    variants += [
        ("smoothing_forgotten", "P - Y with labels of 0 and 1", lambda P, Y, S: P - hard(Y), 1.2),
        ("smoothing_in_part", "P - (1 - e) * Y", lambda P, Y, S: P - (Y - Y.min()), 1.3),
        ("smoothing_in_part", "P - (Y + e / K)", lambda P, Y, S: P - hard(Y) - Y.min(), 1.3),
        (
            "smoothing_in_part",
            "P - ((1 - e) * Y + e)",
            lambda P, Y, S: P - (Y - Y.min()) - Y.min() * Y.shape[axis],
            1.3,
        ),
    ]
    for kind, text, function, cost in variants:
        yield Edit(kind, ("node", i), form(function), cost=cost - 0.5, detail={"formula": text})


def _without_rows(axis: int) -> Callable[[Array, Array, Array], Array]:
    """Return the derivative in which 1 is subtracted from whole rows, whose numbers are the labels."""

    def derivative(P: Array, Y: Array, _: Array) -> Array:
        rows = np.isin(np.arange(len(P)), Y.argmax(axis))
        return P - rows[:, None]

    return derivative


def _of_mixed_shifts(axis: int | None, sign: int) -> Callable[[Array, Array, Array], Array]:
    """Return the derivative with a softmax of which only one of numerator and denominator is shifted by the maximum."""
    return lambda P, Y, S: P * np.exp(sign * S.max(axis, keepdims=True)) - Y


def _of_mixed_axes(axis: int) -> Callable[[Array, Array, Array], Array]:
    """Return the derivative with a softmax whose scores are shifted for each image, and summed over the images."""

    def derivative(_: Array, Y: Array, S: Array) -> Array:
        positive = np.exp(S - S.max(axis, keepdims=True))
        result: Array = positive / positive.sum(1 - axis, keepdims=True) - Y
        return result

    return derivative


def binary_form(scores: Array, g: Array) -> tuple[Array, Array, float] | None:
    """Return (P, Y, c) if a cotangent is ``c * (P - Y)``, with the sigmoid P of the scores and labels Y of 0 and 1."""
    if g.size < 2 or not np.isfinite(g).all() or not np.isfinite(scores).all() or not g.any():
        return None
    P = 1 / (1 + np.exp(-scores))
    first = (0,) * g.ndim
    for label in (0, 1):
        c = float(g[first] / (P[first] - label))
        if c > 0 and np.isfinite(c):
            Y = P - g / c
            if ((np.abs(Y) < 1e-6) | (np.abs(Y - 1) < 1e-6)).all():
                return P, np.round(Y), c
    return None


def _at_logits(i: int) -> Iterator[Edit]:
    """Yield the wrong derivatives of the cross-entropy of a sigmoid with respect to the scores."""

    def form(function: Callable[[Array, Array, Array], Array]) -> Callable[[Walk, Array], Array | None]:
        def value(walk: Walk, g: Array) -> Array | None:
            scores = value_of(walk, i)
            found = binary_form(scores, g)
            return None if found is None else found[2] * function(found[0], found[1], scores)

        return value

    variants: list[tuple[str, str, Callable[[Array, Array, Array], Array]]] = [
        ("label_not_subtracted", "P", lambda P, Y, S: P),
        ("probability_forgotten", "-Y", lambda P, Y, S: -Y),
        ("label_sign", "P + Y", lambda P, Y, S: P + Y),
        ("scores_for_probabilities", "S - Y", lambda P, Y, S: S - Y),
        ("decision_for_probability", "(P > 0.5) - Y", lambda P, Y, S: (P > 0.5) - Y),
        ("sigmoid_left_out", "-Y / P", lambda P, Y, S: -Y / P),
        ("term_forgotten", "-Y * (1 - P)", lambda P, Y, S: -Y * (1 - P)),
        ("term_forgotten", "(1 - Y) * P", lambda P, Y, S: (1 - Y) * P),
        ("scores_sign", "sigmoid(-S) - Y", lambda P, Y, S: 1 - P - Y),
        ("shifted_labels", "P - Y of the image before it", lambda P, Y, S: P - np.roll(Y, 1, 0)),
        ("shifted_labels", "P - Y of the image after it", lambda P, Y, S: P - np.roll(Y, -1, 0)),
    ]
    for kind, text, function in variants:
        yield Edit("sigmoid_loss", ("node", i), form(function), cost=0.5, detail={"formula": text, "kind": kind})


def hinge_form(scores: Array, g: Array) -> int | None:
    """Return the axis of the classes if a cotangent is that of a hinge loss, whose images may be weighted."""
    if not np.isfinite(g).all() or not (g > 0).any():
        return None
    for axis in (1, 0):
        if g.shape[axis] < 2 or not np.allclose(g.sum(axis), 0, atol=1e-9 * np.abs(g).max()):
            continue
        largest = g.max(axis, keepdims=True)
        counts = g / np.where(largest > 0, largest, 1.0)
        negative = (counts < -0.5).sum(axis)
        if (
            np.allclose(counts, np.round(counts), atol=1e-6)
            and (counts < 1.5).all()
            and (negative <= 1).all()
            and ((np.abs(counts) < 1e-6).sum(axis) > 0).any() | (g.shape[axis] > 2)
            and _hinge_margins(scores, counts, axis)
        ):
            return axis
    return None


def _hinge_weights(walk: Walk, g: Array, Y: Array, axis: int) -> Array | None:
    """Return the factor of each image in the derivative of a hinge loss; None if that of some image is not known.

    An image without a violated margin does not show its factor. It is then that of all others, or proportional to an
    array of the problem with one number for each image, or each class.
    """
    largest = g.max(axis, keepdims=True)
    is_known = largest > 0
    known = largest[is_known]
    if np.allclose(known, known[0], rtol=1e-6, atol=0):
        same: Array = np.full(largest.shape, known[0])
        return same
    if is_known.all():
        whole: Array = largest
        return whole
    for array in walk.recording.arrays.values():
        for weights in _per_image(array, Y, axis):
            if (weights[is_known] > 0).all():
                ratios = known / weights[is_known]
                if np.allclose(ratios, ratios[0], rtol=1e-6, atol=0):
                    found: Array = ratios[0] * weights
                    return found
    return None


def _per_image(array: Array, Y: Array, axis: int) -> Iterator[Array]:
    """Yield an array of one number for each image, or for each class, as the factors of the images."""
    shape = Y.sum(axis, keepdims=True).shape
    if array.dtype.kind in "fiub" and array.size == max(array.shape, default=0):
        if array.size == Y.shape[1 - axis]:
            yield array.reshape(shape).astype(float)
        if array.size == Y.shape[axis]:
            yield (array.reshape(-1)[Y.argmax(axis)]).reshape(shape).astype(float)


def _hinge_margins(scores: Array, counts: Array, axis: int) -> bool:
    """Return whether the classes with a positive derivative are those within some margin of the label."""
    own = (counts * (counts < 0) * scores).sum(axis, keepdims=True) / np.minimum(
        (counts * (counts < 0)).sum(axis, keepdims=True), -1e-300
    )
    has_label = (counts < 0).any(axis, keepdims=True)
    distance = scores - own
    inside = distance[(counts > 0.5) & has_label]
    outside = distance[(np.abs(counts) < 0.5) & has_label]
    return not inside.size or not outside.size or bool(inside.min() >= outside.max() - 1e-9)


def _labels(walk: Walk, shape: tuple[int, ...], axis: int) -> Array | None:
    """Return the one-hot labels among the arrays of the problem, with the shape of the scores."""
    for array in walk.recording.arrays.values():
        if array.shape == shape and np.isin(array, (0, 1)).all() and (array.sum(axis) == 1).all():
            return array.astype(float)
    for array in walk.recording.arrays.values():
        if array.dtype.kind in "iu" and array.ndim == 1 and len(array) == shape[1 - axis] and array.max() < shape[axis]:
            rows = np.eye(shape[axis])[array]
            if len(set(array.tolist())) > 1 and not np.array_equal(array, np.arange(len(array))):
                return rows if axis == 1 else rows.T
    for array in walk.recording.arrays.values():
        if (
            array.ndim == 2
            and array.T.shape == shape
            and np.isin(array, (0, 1)).all()
            and (array.T.sum(axis) == 1).all()
        ):
            return array.T.astype(float)
    return None


def _at_margins(i: int, axis: int) -> Iterator[Edit]:
    """Yield the wrong derivatives of the hinge loss with respect to the scores."""

    def form(function: Callable[[Array, Array, Array, Array], Array]) -> Callable[[Walk, Array], Array | None]:
        def value(walk: Walk, g: Array) -> Array | None:
            if hinge_form(value_of(walk, i), g) != axis:
                return None
            Y = _labels(walk, g.shape, axis)
            if Y is None:
                Y = (g < 0).astype(float)
            c = _hinge_weights(walk, g, Y, axis)
            if c is None:
                return None
            inside = (g > 0).astype(float)
            result: Array = c * function(inside, Y, inside.sum(axis, keepdims=True), value_of(walk, i))
            return result

        return value

    def margin_of(S: Array, Y: Array) -> Array:
        result: Array = S - (S * Y).sum(axis, keepdims=True)
        return result

    variants: list[tuple[str, str, Callable[..., Array], float]] = [
        ("hinge_own_class_forgotten", "0", lambda A, Y, n, S: A, 1.0),
        ("hinge_own_class_counted", "1 - (number of violations + 1) - 1", lambda A, Y, n, S: A - Y * (n + 1), 1.0),
        ("hinge_own_class_positive", "1", lambda A, Y, n, S: A + Y, 1.1),
        ("hinge_own_class_not_counted", "1 - (number of violations)", lambda A, Y, n, S: A - Y * (n - 1), 1.1),
        ("hinge_count_forgotten", "-1", lambda A, Y, n, S: A - Y, 1.1),
        ("hinge_count_forgotten", "-1 where a margin is violated", lambda A, Y, n, S: A - Y * (n > 0), 1.2),
        ("hinge_only_own_class", "only the own class", lambda A, Y, n, S: -Y * n, 1.1),
        ("hinge_sign_of_own_class", "+(number of violations)", lambda A, Y, n, S: A + Y * n, 0.8),
        ("hinge_own_class_constant", "-(K - 1)", lambda A, Y, n, S: A - Y * (Y.shape[axis] - 1), 1.3),
        ("hinge_margin_forgotten", "margin 0", lambda A, Y, n, S: _hinge(margin_of(S, Y) > 0, Y, axis), 0.9),
        ("hinge_margin_sign", "margin -1", lambda A, Y, n, S: _hinge(margin_of(S, Y) - 1 > 0, Y, axis), 1.2),
        ("hinge_mask_forgotten", "all classes", lambda A, Y, n, S: _hinge(np.ones_like(S), Y, axis), 0.9),
        ("hinge_values_for_indicator", "margins", lambda A, Y, n, S: _hinge((margin_of(S, Y) + 1) * A, Y, axis), 1.3),
        ("hinge_margins_for_gradient", "margins", lambda A, Y, n, S: (margin_of(S, Y) + 1) * A, 1.3),
        ("hinge_largest_only", "largest", lambda A, Y, n, S: _hinge(_largest(margin_of(S, Y), A, axis), Y, axis), 1.4),
    ]
    for steps, text in ((1, "the image before it"), (-1, "the image after it")):
        variants += [
            ("labels_of_other_images", text, _with_shifted_labels(steps, axis, mask=True), 1.6),
            ("labels_of_other_images", text, _with_shifted_labels(steps, axis, mask=False), 1.7),
        ]
    for kind, text, function, cost in variants:
        yield Edit(kind, ("node", i), form(function), cost=cost - 0.5, detail={"formula": text})


def _with_shifted_labels(steps: int, axis: int, *, mask: bool) -> Callable[[Array, Array, Array, Array], Array]:
    """Return the derivative of a hinge loss of margin 1 with the labels of other images, in the mask as well or not."""

    def derivative(A: Array, Y: Array, _: Array, S: Array) -> Array:
        shifted = np.roll(Y, steps, 1 - axis)
        inside = S - (S * shifted).sum(axis, keepdims=True) + 1 > 0 if mask else A
        return _hinge(inside, shifted, axis)

    return derivative


def _one_against_others(g: Array) -> int | None:
    """Return the axis of the classes if a cotangent is positive but for the label, and sums to zero for each image.

    That of a squared hinge loss has this form.
    """
    for axis in (1, 0):
        is_sum_zero = g.shape[axis] > 2 and np.allclose(g.sum(axis), 0, atol=1e-9 * np.abs(g).max())
        if is_sum_zero and ((g < 0).sum(axis) <= 1).all() and (g == 0).any():
            return axis
    return None


def _at_own_class(i: int, axis: int) -> Iterator[Edit]:
    """Yield the wrong derivatives of a loss of margins with respect to the score of the own class."""
    yield Edit("own_class_forgotten", ("node", i), lambda _, g: np.maximum(g, 0), cost=0.9)
    yield Edit("own_class_sign", ("node", i), lambda _, g: np.abs(g), cost=0.3)
    for steps, text in ((1, "the image before it"), (-1, "the image after it")):
        value = bind_arguments(_squared_hinge_of_other_labels, i, axis, steps)
        yield Edit("labels_of_other_images", ("node", i), value, cost=1.1, detail={"formula": text})


def _squared_hinge_of_other_labels(walk: Walk, g: Array, i: int, axis: int, steps: int) -> Array | None:
    """Return the derivative of a squared hinge loss of margin 1 with the labels of other images."""
    Y, S = _labels(walk, g.shape, axis), value_of(walk, i)
    if Y is None:
        return None

    def derivative(labels: Array) -> Array:
        margins = np.maximum(S - (S * labels).sum(axis, keepdims=True) + 1, 0)
        return _hinge(margins, labels, axis)

    right = derivative(Y)
    factor = np.vdot(right, g) / np.vdot(right, right)
    return factor * derivative(np.roll(Y, steps, 1 - axis)) if np.allclose(g, factor * right) else None


def _hinge(inside: Array, Y: Array, axis: int) -> Array:
    others = inside * (1 - Y)
    result: Array = others - Y * others.sum(axis, keepdims=True)
    return result


def _largest(margins: Array, inside: Array, axis: int) -> Array:
    masked = np.where(inside > 0, margins, -np.inf)
    result: Array = (masked == masked.max(axis, keepdims=True)) * inside
    return result
