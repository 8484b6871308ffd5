"""Behaviour where libraries differ: one table of decisions, from which docs/conformance.md is generated.

    python -m tests.evidence.conformance         generates the page

Each decision names its test in test_conformance.py. The behaviour of the other libraries was determined with NumPy 2.4,
PyTorch 2 and JAX 0.10.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


class Decision(NamedTuple):
    """A row of the table.

    Attributes
    ----------
    name, behaviour, why
        The question, the behaviour of this library, and the reason.
    numpy, pytorch, jax
        The behaviour of others; NumPy has no gradients, so its cell is often empty.
    test
        The name of the test.
    """

    name: str
    behaviour: str
    why: str
    numpy: str
    pytorch: str
    jax: str
    test: str


_NONE = "-"

DECISIONS: list[Decision] = [
    # dtypes
    Decision(
        "float32 stays float32",
        "Python scalars do not change the dtype; arrays and NumPy scalars promote as in NumPy 2.",
        "A float32 model that is silently computed in float64 takes twice the time and memory.",
        "the same, since 2.0 (before: by value)",
        "the same for Python scalars; a 0-d tensor does not promote either",
        "the same; float64 must be enabled",
        "test_float32_stays_float32",
    ),
    Decision(
        "the dtype of a gradient",
        "The gradient of a leaf has the dtype of the leaf, also if it is combined with another dtype.",
        "An optimiser's step must not change the dtype of a parameter.",
        _NONE,
        "the same",
        "the same",
        "test_dtype_of_a_gradient",
    ),
    Decision(
        "gradients of integers",
        "TypeError that suggests a conversion.",
        "A derivative with respect to an integer does not exist; 0 would hide a mistake.",
        _NONE,
        "RuntimeError",
        "TypeError",
        "test_gradients_of_integers",
    ),
    Decision(
        "complex, object and text operands",
        "TypeError that names the operation.",
        "A tensor of objects would compute slowly, and its gradients would be meaningless.",
        "object arrays compute, element by element",
        "TypeError, or RuntimeError for an array; complex tensors are supported",
        "complex numbers are supported; objects: TypeError",
        "test_complex_and_object_operands",
    ),
    # NumPy's functions
    Decision(
        "array * tensor",
        "A recorded tensor, from either side.",
        "The order of the operands must not matter.",
        "would return an object array if the tensor did not implement NumPy's protocols",
        "array * tensor: TypeError; tensor * array: RuntimeError if the tensor requires a gradient",
        "the same as here",
        "test_array_times_tensor",
    ),
    Decision(
        "np.exp(tensor), np.sum(tensor), np.concatenate([tensor])",
        "A recorded tensor where the operation exists, otherwise a TypeError that names the function.",
        "No computation may leave the graph silently.",
        _NONE,
        "RuntimeError if a gradient is required; np.sum: TypeError",
        "np.sum works; np.exp and np.concatenate of a traced array: an error",
        "test_numpy_functions",
    ),
    Decision(
        "conversion to an array",
        "np.asarray of a tensor that requires a gradient: TypeError; of a constant: its values, read-only.",
        "The graph would be lost silently.",
        _NONE,
        "RuntimeError; for a constant, a writable array that shares memory",
        "a traced array: an error; otherwise a read-only array",
        "test_conversion_to_an_array",
    ),
    # the backward pass
    Decision(
        "backward() of several elements",
        "ValueError that suggests a reduction, or gradient=.",
        "An implicit sum would be a guess.",
        _NONE,
        "RuntimeError",
        "grad: TypeError",
        "test_backward_of_several_elements",
    ),
    Decision(
        "backward() of a constant",
        "ValueError that mentions no_grad and detach().",
        "A loss that does not depend on the parameters is a mistake.",
        _NONE,
        "RuntimeError",
        "grad: zeros",
        "test_backward_of_a_constant",
    ),
    Decision(
        "a second backward()",
        "RuntimeError that names the operation and retain_graph=True; also if only a branch of the graph has been "
        "freed.",
        "The first pass frees the graph, so the memory of a training loop does not grow.",
        _NONE,
        "RuntimeError",
        "a function of vjp can be called again",
        "test_second_backward",
    ),
    # changes in place
    Decision(
        "w -= eta * w.grad",
        "TypeError that says which line to write, for a leaf with a gradient; also under no_grad.",
        "The name w would refer to a result, which receives no gradients.",
        "changes the array",
        "RuntimeError; under no_grad it changes the tensor",
        "gives the name to a new array",
        "test_update_by_an_operator",
    ),
    Decision(
        "a frozen leaf",
        "Setting requires_grad to False keeps .grad and the graph; nothing is accumulated until it is True again.",
        "A phase of training without some parameters must not lose what was computed before.",
        _NONE,
        "the same",
        _NONE,
        "test_frozen_leaf",
    ),
    Decision(
        "a parameter changed between forward and backward",
        "Correct gradients: the graph keeps the old values. Tensor.data = and Tensor.overwrite (which optimisers use) "
        "write in place only if the reference count shows that nothing else refers to the array.",
        "Version counters detect such changes late, and only in code that maintains them; if saved arrays cannot be "
        "written to, no counter is needed.",
        _NONE,
        "RuntimeError from a version counter; through .data: a wrong gradient",
        "arrays cannot be changed",
        "test_parameter_changed_between_forward_and_backward",
    ),
    Decision(
        "writing to the data of a tensor",
        "t.data is a read-only view of a read-only array: every way to write to it, to its base or to a view of it "
        "raises NumPy's ValueError. (Resetting the flag on t.data.base by hand bypasses this.)",
        "Reading values must not give access to saved arrays.",
        _NONE,
        ".data and .numpy() share memory, are writable, and make gradients wrong without an error",
        "np.asarray of an array is read-only",
        "test_writing_to_the_data_of_a_tensor",
    ),
    Decision(
        "a constant array changed between forward and backward",
        "Correct gradients: arrays of the caller (also in lists and tuples) that a VJP needs are copied: operands, "
        "index arrays, conditions, bounds, labels and targets, including read-only arrays and arguments of "
        "user-defined primitives.",
        "Callers reuse buffers. The copy is made only if a recorded operation needs it.",
        _NONE,
        "a tensor: RuntimeError; a NumPy array behind it (from_numpy, an index): a wrong gradient",
        "vjp keeps the caller's NumPy array: a wrong gradient",
        "test_constant_array_changed_between_forward_and_backward",
    ),
    Decision(
        "a batch given to from_numpy",
        "Shared only if the array owns its memory and only the caller's variable refers to it; the array is then "
        "read-only, and writing to it raises ValueError. Any other array (a view, an array with views, one with other "
        "references, a subclass) is copied. Two exceptions: resetting the flag of the array by hand, and passing "
        "v.base of a view v if nothing else refers to that base.",
        "Copying every batch would cost a tenth of the step of a two-layer network; the test takes less than a "
        "microsecond.",
        _NONE,
        "shares memory; changing the array makes gradients wrong without an error",
        "jnp.asarray copies, or shares",
        "test_batch_given_to_from_numpy",
    ),
    Decision(
        "the array passed by overwrite()",
        "References to it that the function keeps (to the array, a view or a memoryview) cannot change the tensor "
        "after overwrite() has returned.",
        "Operations save the parameter; a retained view would give access to saved arrays.",
        _NONE,
        _NONE,
        _NONE,
        "test_array_passed_by_overwrite",
    ),
    Decision(
        "the initial cotangent, backward(gradient=)",
        "Copied; later changes to it do not affect gradients.",
        "The cotangent that accumulates at a leaf may be the initial cotangent itself.",
        _NONE,
        "the same",
        "arrays cannot be changed",
        "test_initial_cotangent_of_backward",
    ),
    # indices
    Decision(
        "x[[0, 0, 1]]",
        "An element that is selected twice accumulates both gradients.",
        "This is the adjoint of the selection.",
        "x[[0, 0, 1]] += g adds once; np.add.at accumulates",
        "accumulates",
        "accumulates",
        "test_repeated_index",
    ),
    Decision(
        "x[...] = v",
        "TypeError that suggests index_update(x, index, value), which is recorded.",
        "Tensors are immutable values in the graph; saved arrays depend on it.",
        "changes the array",
        "recorded, but an error on a leaf",
        "TypeError that names x.at[].set()",
        "test_item_assignment",
    ),
    Decision(
        "(N,) against (N, 1) in a loss",
        "ValueError with both shapes.",
        "They would broadcast to (N, N), which gives another loss.",
        "broadcasts",
        "mse_loss warns and broadcasts",
        "broadcasts",
        "test_shapes_that_broadcast_in_a_loss",
    ),
    # kinks
    Decision("relu at 0", "0", "The left derivative, as in the course.", _NONE, "0", "0", "test_relu_at_0"),
    Decision(
        "absolute at 0", "0", "The mean of the one-sided derivatives.", "sign(0) = 0", "0", "1", "test_absolute_at_0"
    ),
    Decision("sign at 0", "0", "The derivative is 0 everywhere else.", "sign(0) = 0", "0", "0", "test_sign_at_0"),
    Decision(
        "a tie of maximum or minimum",
        "Half to each operand.",
        "Symmetric in the operands, and the sum is the derivative of maximum(x, x).",
        _NONE,
        "half to each",
        "half to each",
        "test_tie_of_maximum_or_minimum",
    ),
    Decision(
        "a tie of max or min",
        "Equal shares to all elements that attain the extreme, also along an axis.",
        "The result does not depend on the order of the elements.",
        _NONE,
        "equal shares; with dim=, all to one of them",
        "equal shares",
        "test_tie_of_max_or_min",
    ),
    Decision("clip at its bounds", "1", "The derivative inside.", _NONE, "1", "0.5", "test_clip_at_its_bounds"),
    Decision("the hinge at its margin", "0", "It is relu at 0.", _NONE, "0", _NONE, "test_hinge_at_its_margin"),
    Decision(
        "norm at 0",
        "0",
        "The smallest subgradient, and the mean over all directions; NaN would propagate to all other gradients.",
        _NONE,
        "0",
        "NaN",
        "test_norm_at_0",
    ),
    Decision(
        "counting kinks",
        "count_kinks() counts the elements that lie on a kink, for each operation.",
        "A gradient check may fail at a kink although the gradient is correct.",
        _NONE,
        _NONE,
        _NONE,
        "test_counting_kinks",
    ),
    # not finite
    Decision(
        "the source of a NaN or an infinity",
        "trace_nonfinite() raises at the first operation or VJP that computes one, and names it, the user's line, the "
        "ranges of its inputs and a rewrite.",
        "A loss of NaN does not show where it was computed.",
        "errstate and warnings, forward only",
        "detect_anomaly: NaN only, backward only",
        "debug_nans, debug_infs",
        "test_source_of_a_nan_or_an_infinity",
    ),
    Decision(
        "where(x > 0, sqrt(x), 0) at 0",
        "NaN, according to the chain rule in floating point (0 times infinity); trace_nonfinite() suggests a second "
        "where, inside the root.",
        "A correction for this case would hide the same problem in others.",
        _NONE,
        "NaN",
        "NaN",
        "test_single_where_around_a_square_root",
    ),
    # threads, state
    Decision(
        "the scope of no_grad",
        "The thread or asynchronous task; restored when an exception leaves the block. A task starts with the state of "
        "the task that creates it, a thread with recording on.",
        "Evaluation in one thread must not stop recording in another.",
        _NONE,
        "the thread; tasks of one thread share it",
        "nothing is recorded outside grad",
        "test_scope_of_no_grad",
    ),
    Decision(
        "a generator under no_grad",
        "A decorated generator does not record while it runs, and does not affect its caller. A with block inside a "
        "generator stays open across a yield; leaving it ends only that block, in whatever order blocks are left.",
        "Recording that remains off is noticed late.",
        _NONE,
        "the same if decorated; two with blocks left in the order of entering leave recording off",
        _NONE,
        "test_generator_under_no_grad",
    ),
    Decision(
        "a derivative inside a derivative",
        "Recorded if it depends on a recorded tensor: jacobian inside jacobian is correct, and a penalty on a Jacobian "
        "has a gradient with respect to the parameters.",
        "No computation may leave the graph silently.",
        _NONE,
        "autograd.functional.jacobian: zeros unless create_graph=True; torch.func: the same as here",
        "the same as here",
        "test_nested_derivatives",
    ),
    Decision(
        "a tensor stored in a module",
        "self.h = layer(x) is not a parameter: it is not part of the state or of a penalty.",
        "Modules commonly store an activation for inspection.",
        _NONE,
        "the same: parameters have a class of their own",
        "modules belong to other libraries",
        "test_tensor_stored_in_a_module",
    ),
    Decision(
        "gradients in several threads",
        "Correct, also nested; gradients of one leaf are accumulated without loss. Not supported: overwriting a "
        "parameter in one thread while another computes with it.",
        "One lock, held only while gradients accumulate into .grad.",
        _NONE,
        "correct; accumulation into one leaf may race",
        "correct; functions have no state",
        "test_gradients_in_several_threads",
    ),
    Decision(
        "pickling and copying",
        "Leaves (with their gradients), modules, optimisers, schedules, settings and results; a computed tensor: "
        "TypeError that suggests detach().",
        "A pickled graph could have any size.",
        "arrays can be pickled",
        "leaves; deepcopy of a computed tensor: RuntimeError; its pickle is a leaf",
        "arrays can be pickled",
        "test_pickling_and_copying",
    ),
    Decision(
        "a schedule",
        "A pure function of the step number.",
        "Resuming a run needs only that number.",
        _NONE,
        "an object that counts its calls",
        "optax: a pure function",
        "test_schedule_is_a_pure_function",
    ),
    # images
    Decision(
        "the order of the axes of images",
        "(n, height, width, channels); filters (height, width, channels, filters). channels_last converts.",
        "Patches are then contiguous in memory, and a convolution is one matrix product for each block of images.",
        _NONE,
        "(n, channels, height, width); filters (filters, channels, height, width)",
        "given by an argument",
        "test_channels_are_last",
    ),
    Decision(
        'padding="same"',
        "A result of ceil(size / stride), also for a stride above 1; one more row comes after the image if the padding "
        "is odd.",
        "The size of the result then does not depend on the size of the filters.",
        "convolve: one more before",
        "the same for stride 1; ValueError for a larger one",
        "the same",
        "test_same_padding",
    ),
    Decision(
        "equal maxima of a window",
        "max_pool2d: the first in the order of rows and columns receives the cotangent; max over axes: equal parts.",
        "A pooled position corresponds to one element, and the pass over the memory is shorter.",
        _NONE,
        "the same",
        "reduce_window: the first; max: equal parts",
        "test_equal_maxima_of_a_window",
    ),
    Decision(
        "the mean of a window at the border",
        "The zeros of the padding count.",
        "The mean is then the same linear function everywhere.",
        _NONE,
        "the same, by default",
        "written by the user",
        "test_mean_of_a_window_at_the_border",
    ),
    Decision(
        "running statistics of batch normalisation",
        "Weight 0.1 for a new batch, and the variance with n - 1; normalisation in training mode divides by n.",
        "Users of PyTorch load their statistics.",
        _NONE,
        "the same",
        "flax: weight 0.01, variance with n",
        "test_running_statistics",
    ),
    Decision(
        "batch normalisation of one number per channel",
        "ValueError in training mode.",
        "The variance is 0, so the result would be the bias alone.",
        _NONE,
        "the same",
        "the bias",
        "test_batch_norm_of_one_number",
    ),
    Decision(
        "label smoothing",
        "functional.cross_entropy(label_smoothing=): the share is divided among all classes, the label included. "
        "--smoothing and Classifier.loss_smoothing, as in the course: among the other classes.",
        "It is the definition of its source (Szegedy et al.). The course divides it among the other classes: "
        "eps * K / (K - 1) is the same share here.",
        _NONE,
        "the same",
        "optax: the same",
        "test_label_smoothing",
    ),
    # messages
    Decision(
        "incompatible shapes",
        "ValueError with the operation, both shapes and dtypes.",
        "The message may be read far from the line that caused it.",
        "ValueError with both shapes; the operation for matmul only",
        "RuntimeError with both sizes",
        "TypeError with the operation and both shapes",
        "test_incompatible_shapes",
    ),
]


_INTRODUCTION = (
    "The behaviour of this library in cases where libraries differ or surprise their users, the reason, and the "
    "behaviour of NumPy, PyTorch and JAX. The test of each row is in "
    "[test_conformance.py](../tests/trust/test_conformance.py); `python -m tests.evidence.conformance` generates this "
    "page from one table. The behaviour of others was determined with NumPy 2.4, PyTorch 2 and JAX 0.10; a dash means "
    "not applicable."
)


def format_page() -> str:
    """Return the text of the page."""
    lines = [
        "# Behaviour where libraries differ",
        "",
        _INTRODUCTION,
        "",
        "| question | here | why | NumPy | PyTorch | JAX |",
        "|---|---|---|---|---|---|",
    ]
    for row in DECISIONS:
        cells = [f"**{_escape(row.name)}**", *map(_escape, (row.behaviour, row.why, row.numpy, row.pytorch, row.jax))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("[", "\\[").replace("_", "\\_")


if __name__ == "__main__":
    PAGE.write_text(format_page())
