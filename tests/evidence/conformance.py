"""What the library does where others surprise their users: one table, which docs/conformance.md shows.

    python -m tests.evidence.conformance         writes the page again

Every row names the test in test_conformance.py that holds the library to it. What is said of others was tried with
NumPy 2.4, PyTorch 2 and JAX 0.10.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


class Decision(NamedTuple):
    """A row.

    Attributes
    ----------
    name, behaviour, why
        The question, what this library does, and the reason.
    numpy, pytorch, jax
        What others do; NumPy knows no gradients, so often nothing.
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
    # types of number
    Decision(
        "float32 stays float32",
        "Python numbers widen nothing; arrays and NumPy's numbers widen as in NumPy 2.",
        "A float32 model that is silently computed in float64 takes twice the time and memory.",
        "the same, since 2.0 (before: by value)",
        "the same for Python numbers; a 0-d tensor does not widen either",
        "the same; float64 has to be switched on",
        "test_float32_stays_float32",
    ),
    Decision(
        "the dtype of a gradient",
        "A leaf's gradient has the leaf's dtype, whatever it was combined with.",
        "An optimiser's step must not change a parameter's dtype.",
        _NONE,
        "the same",
        "the same",
        "test_the_dtype_of_a_gradient",
    ),
    Decision(
        "gradients of whole numbers",
        "TypeError that says how to convert.",
        "A derivative with respect to an integer does not exist; 0 would hide a mistake.",
        _NONE,
        "RuntimeError",
        "TypeError",
        "test_gradients_of_whole_numbers",
    ),
    Decision(
        "numbers of another kind",
        "Complex, object and text operands: TypeError that names the operation.",
        "A tensor of objects computes, slowly, and its gradients mean nothing.",
        "object arrays compute, element by element",
        "TypeError, or RuntimeError for an array; complex tensors are supported",
        "complex numbers are supported; objects: TypeError",
        "test_numbers_of_another_kind",
    ),
    # NumPy's functions
    Decision(
        "array * tensor",
        "A tensor, recorded, from either side.",
        "Which operand stands left should not matter.",
        "would make an object array, element by element, if the tensor did not say otherwise",
        "array * tensor: TypeError; tensor * array: RuntimeError if the tensor requires a gradient",
        "the same as here",
        "test_array_times_tensor",
    ),
    Decision(
        "np.exp(tensor), np.sum(tensor), np.concatenate([tensor])",
        "A recorded tensor where the operation exists, otherwise a TypeError that says so.",
        "Nothing may drop out of the graph silently.",
        _NONE,
        "RuntimeError if a gradient is required; np.sum: TypeError",
        "np.sum works; np.exp and np.concatenate of a traced array: an error",
        "test_numpys_functions",
    ),
    Decision(
        "a tensor as an array",
        "np.asarray of one that requires a gradient: TypeError; of a constant: its numbers, read-only.",
        "The graph would be lost without a word.",
        _NONE,
        "RuntimeError; for a constant, an array that shares memory and can be written to",
        "a traced array: an error; otherwise a read-only array",
        "test_a_tensor_as_an_array",
    ),
    # the backward pass
    Decision(
        "backward() of several numbers",
        "ValueError that says to reduce, or to pass gradient=.",
        "Summing in silence would be a guess.",
        _NONE,
        "RuntimeError",
        "grad: TypeError",
        "test_backward_of_several_numbers",
    ),
    Decision(
        "backward() of a constant",
        "ValueError that asks about no_grad and detach().",
        "A loss that does not depend on the parameters is a mistake.",
        _NONE,
        "RuntimeError",
        "grad: zeros",
        "test_backward_of_a_constant",
    ),
    Decision(
        "a second backward()",
        "RuntimeError that names the operation and retain_graph=True; so, too, where only a branch was used up.",
        "The first walk uses the graph up, which is why a loop does not grow.",
        _NONE,
        "RuntimeError",
        "a function of vjp can be called again",
        "test_a_second_backward",
    ),
    # changes in place
    Decision(
        "a parameter changed between forward and backward",
        "Harmless: the graph keeps the old numbers. Tensor.data = and Tensor.overwrite (which optimisers use) write in "
        "place only if the count of references shows that nobody else holds the array.",
        "Version counters find such changes late and only where everybody takes part; who cannot write to what is "
        "remembered needs none.",
        _NONE,
        "RuntimeError from a version counter; through .data: a wrong gradient",
        "arrays cannot be changed",
        "test_a_parameter_changed_between_forward_and_backward",
    ),
    Decision(
        "writing to what a tensor shows",
        "t.data is a read-only view of a read-only array: every way to write to it, to its base or to a view of it is "
        "NumPy's ValueError. (Who takes t.data.base and sets its flag back has unlocked the door himself.)",
        "What can be read must not be a way to change what a derivative rule remembers.",
        _NONE,
        ".data and .numpy() share memory, can be written to, and spoil gradients in silence",
        "np.asarray of an array is read-only",
        "test_writing_to_what_a_tensor_shows",
    ),
    Decision(
        "a constant array changed between forward and backward",
        "Harmless: an array (or a list, or a tuple of arrays) of the caller's is copied if a rule needs it: operands, "
        "index arrays, conditions, bounds, labels, targets, also read-only ones and a user's own primitive's.",
        "Buffers are reused. The copy is made only if something is recorded that needs it.",
        _NONE,
        "a tensor: RuntimeError; a NumPy array behind it (from_numpy, an index): a wrong gradient",
        "vjp keeps the caller's NumPy array: a wrong gradient",
        "test_a_constant_array_changed_between_forward_and_backward",
    ),
    Decision(
        "a batch given to from_numpy",
        "Shared only if the array owns its memory and the caller's variable is all that refers to it; it is then "
        "read-only, and writing to it a ValueError. Anything else (a view, an array with views, one that is "
        "kept elsewhere, a subclass) is copied. Two doors stay open: setting the array's flag back by hand, and giving "
        "v.base of a view v when nothing else refers to that base.",
        "Copying every batch would cost a tenth of a two-layer step; looking costs less than a microsecond.",
        _NONE,
        "shares memory; a change of the array spoils gradients in silence",
        "jnp.asarray copies, or shares",
        "test_a_batch_given_to_from_numpy",
    ),
    Decision(
        "the array that overwrite() lends",
        "What is kept of it (itself, a view, a memoryview) cannot change the tensor after overwrite() has returned.",
        "A parameter is remembered by operations; a forgotten view would be a way around all of the above.",
        _NONE,
        _NONE,
        _NONE,
        "test_the_array_that_overwrite_lends",
    ),
    Decision(
        "the seed of backward(gradient=)",
        "Copied; changing it afterwards changes no gradient.",
        "A gradient is deposited as it arrives at the leaf, which may be the seed itself.",
        _NONE,
        "the same",
        "arrays cannot be changed",
        "test_the_seed_of_backward",
    ),
    # indices
    Decision(
        "x[[0, 0, 1]]",
        "An element that is chosen twice accumulates both gradients.",
        "It is the adjoint of the choice.",
        "x[[0, 0, 1]] += g adds once; np.add.at accumulates",
        "accumulates",
        "accumulates",
        "test_an_index_that_repeats",
    ),
    Decision(
        "x[...] = v",
        "TypeError that names index_update(x, index, value), which is recorded.",
        "A tensor is a value; everything above rests on that.",
        "changes the array",
        "recorded, but an error on a leaf",
        "TypeError that names x.at[].set()",
        "test_assigning_to_elements",
    ),
    Decision(
        "(N,) against (N, 1) in a loss",
        "ValueError with both shapes.",
        "They broadcast to (N, N), and the loss means something else.",
        "broadcasts",
        "mse_loss warns and broadcasts",
        "broadcasts",
        "test_shapes_that_broadcast_in_a_loss",
    ),
    # kinks
    Decision("relu at 0", "0", "The slope on the left, as the course has it.", _NONE, "0", "0", "test_relu_at_0"),
    Decision(
        "absolute at 0", "0", "Midway between the slopes on both sides.", "sign(0) = 0", "0", "1", "test_absolute_at_0"
    ),
    Decision("sign at its jump", "0", "It is 0 everywhere else.", "sign(0) = 0", "0", "0", "test_sign_at_its_jump"),
    Decision(
        "a tie of maximum or minimum",
        "Half to each.",
        "Neither operand deserves it more, and halves add up to the derivative of maximum(x, x).",
        _NONE,
        "half to each",
        "half to each",
        "test_a_tie_of_maximum_or_minimum",
    ),
    Decision(
        "a tie of max or min",
        "Equal parts to all elements that reach the extreme, also along an axis.",
        "The result does not depend on the order of the elements.",
        _NONE,
        "equal parts; with dim= all to one of them",
        "equal parts",
        "test_a_tie_of_max_or_min",
    ),
    Decision("clip at its ends", "1", "The slope inside.", _NONE, "1", "0.5", "test_clip_at_its_ends"),
    Decision("the hinge at its margin", "0", "It is relu at 0.", _NONE, "0", _NONE, "test_the_hinge_at_its_margin"),
    Decision(
        "norm at 0",
        "0",
        "The smallest subgradient, and the mean over all directions; NaN would spoil all the rest.",
        _NONE,
        "0",
        "NaN",
        "test_norm_at_0",
    ),
    Decision(
        "how often a run sat on a kink",
        "count_kinks() counts the elements by operation.",
        "A gradient check may disagree there, and nowhere else, without anything being wrong.",
        _NONE,
        _NONE,
        _NONE,
        "test_how_often_a_run_sat_on_a_kink",
    ),
    # not finite
    Decision(
        "where a NaN or an infinity was made",
        "trace_nonfinite() stops at the first operation or derivative rule that makes one, and names it, the user's "
        "line, the ranges of its inputs and the rewrite.",
        "By the time that a loss is NaN, nothing tells why.",
        "errstate and warnings, forward only",
        "detect_anomaly: NaN only, backward only",
        "debug_nans, debug_infs",
        "test_where_a_nan_or_an_infinity_was_made",
    ),
    Decision(
        "where(x > 0, sqrt(x), 0) at 0",
        "NaN, as the chain rule has it in floating point (0 times infinity); the trace names the second where that "
        "is needed inside.",
        "Repairing it here would hide the same trap elsewhere.",
        _NONE,
        "NaN",
        "NaN",
        "test_the_trap_of_one_where",
    ),
    # threads, state
    Decision(
        "whether is recorded",
        "A matter of the thread and of the asynchronous task, restored when an exception leaves the block. A task "
        "begins with the state of the one that begins it, a thread with recording on.",
        "An evaluation in one thread must not switch another's training off.",
        _NONE,
        "of the thread; tasks of one thread share it",
        "nothing is recorded outside of grad",
        "test_whether_is_recorded",
    ),
    Decision(
        "a generator under no_grad",
        "Decorated, it does not record while it runs, and leaves alone whoever it yields to. A with block inside it "
        "stays open across a yield; leaving it takes away that block and no other, in whatever order blocks are left.",
        "Recording that stays off for good is found out late.",
        _NONE,
        "the same if decorated; two with blocks left in the order of entering leave recording off",
        _NONE,
        "test_a_generator_under_no_grad",
    ),
    Decision(
        "a derivative inside a derivative",
        "Recorded like any other result if it depends on something that is: jacobian in jacobian is right, and a "
        "penalty on a jacobian reaches the parameters.",
        "Nothing may drop out of the graph silently.",
        _NONE,
        "autograd.functional.jacobian: zeros unless create_graph=True; torch.func: the same as here",
        "the same as here",
        "test_a_derivative_inside_a_derivative",
    ),
    Decision(
        "a result kept in a module",
        "self.h = layer(x) is no parameter, is in no state, and counts in no penalty.",
        "A module is a natural place to keep an activation to look at.",
        _NONE,
        "the same: parameters are of a class of their own",
        "modules are the business of other libraries",
        "test_a_result_kept_in_a_module",
    ),
    Decision(
        "gradients in several threads",
        "Right, nested ones too; deposits into one leaf add up. What is not promised: a parameter that one thread "
        "overwrites while another computes with it.",
        "One lock, held only while a gradient is deposited.",
        _NONE,
        "right; deposits into one leaf may race",
        "right; functions have no state",
        "test_gradients_in_several_threads",
    ),
    Decision(
        "pickling and copying",
        "Leaves (with their gradients), modules, optimisers, schedules, settings and results; a computed tensor: "
        "TypeError that names detach().",
        "A graph in a pickle would be a surprise of any size.",
        "arrays pickle",
        "leaves; deepcopy of a computed tensor: RuntimeError; its pickle is a leaf",
        "arrays pickle",
        "test_pickling_and_copying",
    ),
    Decision(
        "a schedule",
        "A pure function of the step number.",
        "A resumed run needs no more than that number, and cannot be one step off.",
        _NONE,
        "an object that counts its calls",
        "optax: a pure function",
        "test_a_schedule_is_pure",
    ),
    # words
    Decision(
        "shapes that do not fit",
        "ValueError with the operation, both shapes and dtypes.",
        "The sentence is read far away from the line that is wrong.",
        "ValueError with both shapes; the operation for matmul only",
        "RuntimeError with both sizes",
        "TypeError with the operation and both shapes",
        "test_shapes_that_do_not_fit",
    ),
]


_INTRODUCTION = (
    "What this library does where users of libraries like it complain, why, and what others do there. Each row is held "
    "by the test of its name in [test_conformance.py](../tests/trust/test_conformance.py); the page is written by "
    "`python -m tests.evidence.conformance` from one table. What is said of PyTorch and JAX was tried with PyTorch 2 and JAX "
    "0.10; a dash means that there is nothing to say."
)


def page() -> str:
    """Return the text of the page."""
    lines = [
        "# Where others surprise",
        "",
        _INTRODUCTION,
        "",
        "| question | here | why | NumPy | PyTorch | JAX |",
        "|---|---|---|---|---|---|",
    ]
    for row in DECISIONS:
        cells = [f"**{_cell(row.name)}**", *map(_cell, (row.behaviour, row.why, row.numpy, row.pytorch, row.jax))]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("[", "\\[").replace("_", "\\_")


if __name__ == "__main__":
    PAGE.write_text(page())
