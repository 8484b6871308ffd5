"""Profiles: counts, bytes, lines, the table, and that nothing remains after the block."""

from __future__ import annotations

import cProfile
import gc
import re
import sys
import weakref
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import tinygrad_cifar as tg
from tests.support.tensors import variable
from tinygrad_cifar import grad, models
from tinygrad_cifar.inspection import profile as profile_module


def square(x):
    return x * x


def profiled():
    x = variable(np.ones(100))
    with tg.profile() as p:
        y = square(x)
        (tg.sin(y) + y).sum().backward()
    return p


def test_every_operation_and_every_vjp_is_counted():
    p = profiled()
    assert {(row.primitive, row.direction): row.calls for row in p.rows} == {
        ("multiply", "forward"): 1,
        ("sin", "forward"): 1,
        ("add", "forward"): 1,
        ("sum", "forward"): 1,
        ("multiply", "backward"): 2,
        ("sin", "backward"): 1,
        ("add", "backward"): 2,
        ("sum", "backward"): 1,
    }


def test_lines_of_files_with_the_same_name_are_apart(tmp_path):
    with tg.profile() as p:
        for name in ("a", "b"):
            file = tmp_path / name / "layers.py"
            file.parent.mkdir()
            file.write_text("y = tg.exp(2.0 * x)")
            exec(compile(file.read_text(), str(file), "exec"), {"tg": tg, "x": variable(1.0)})
    files = {str(tmp_path / name / "layers.py") for name in ("a", "b")}
    assert {f"{file}:1" for file in files} == set(p.by("line"))
    assert sum(row.calls for row in p.by("line").values()) == sum(row.calls for row in p.rows) == 4


def test_bytes_are_those_of_results_and_of_arrays_that_were_not_saved_before():
    sizes = {row.primitive: (row.nbytes, row.saved) for row in profiled().rows if row.direction == "forward"}
    assert sizes == {"multiply": (800, 800), "sin": (800, 800), "add": (800, 0), "sum": (8, 0)}


def test_vjps_belong_to_the_line_of_their_operation():
    lines = {row.location.line for row in profiled().rows if row.primitive == "multiply"}
    assert lines == {square.__code__.co_firstlineno + 1}


def test_operations_that_were_recorded_before_have_no_line():
    y = square(variable([1.0])).sum()
    with tg.profile() as p:
        y.backward()
    assert set(p.by("line")) == {"unknown"}


@pytest.mark.parametrize("key", ["primitive", "direction", "line"])
def test_sums_contain_everything_once(key):
    p = profiled()
    sums = p.by(key).values()
    assert sum(row.calls for row in sums) == sum(row.calls for row in p.rows)
    assert [row.seconds for row in sums] == sorted((row.seconds for row in sums), reverse=True)


def test_the_parts_do_not_exceed_the_whole():
    p = profiled()
    assert 0 < sum(row.seconds for row in p.rows) <= p.seconds


class Clock:
    """A clock that only the program moves."""

    now = 0.0

    def perf_counter(self):
        return self.now


def test_the_time_of_an_operation_is_that_of_its_computation(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("tinygrad_cifar.inspection.profile.time", clock)

    def forward(x):
        clock.now += 2.0
        return x * 1.0

    def vjp(g):
        clock.now += 3.0
        return g * 1.0

    slow = tg.primitive("slow_of_a_profile", forward, x=vjp)
    x = variable([1.0])
    with tg.profile() as p:
        clock.now += 10.0  # not part of any operation
        y = slow(x)
        y.backward()
    assert {(row.primitive, row.direction): row.seconds for row in p.rows} == {
        ("slow_of_a_profile", "forward"): 2.0,
        ("slow_of_a_profile", "backward"): 3.0,
    }
    assert p.seconds == 15.0


def test_a_recorded_vjp_is_counted_once():
    x = variable([1.0])
    with tg.profile() as p:
        grad(tg.sin(x).sum(), x, create_graph=True)
    assert {(row.primitive, row.direction): row.calls for row in p.rows} == {
        ("sin", "forward"): 1,
        ("sum", "forward"): 1,
        ("sum", "backward"): 1,
        ("sin", "backward"): 1,
    }


def test_the_models_of_the_library_are_at_the_line_that_calls_them():
    model = models.TwoLayer(4, 3, 2, rng=0)
    with tg.profile() as p:
        model.loss(np.ones((2, 4)), [0, 1]).backward()
    (line,) = p.by("line")
    assert line.startswith("test_profile.py:")


def test_outside_of_the_block_nothing_is_measured():
    before = sys.getprofile()
    p = profiled()
    count = len(p.rows)
    with pytest.raises(ZeroDivisionError), tg.profile():
        1 / 0  # noqa: B018
    square(variable([1.0]))
    assert (sys.getprofile(), len(p.rows)) == (before, count)


def test_a_profile_holds_no_array():
    x = variable(np.ones(10))
    with tg.profile() as p:
        y = square(x)
    array = weakref.ref(y._array)
    del y
    gc.collect()
    assert array() is None
    assert p.rows


def test_the_table_has_80_columns():
    x = variable([0.5])
    with tg.profile() as p:
        for name in ("sin", "cos", "tanh", "exp", "sigmoid", "square", "relu", "log1p", "absolute", "sqrt", "arctan"):
            getattr(tg, name)(x).sum().backward()
    lines = str(p).splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split("  ")[0] for line in lines if line.startswith("by ")] == [
        "by direction",
        "by primitive",
        "by line",
    ]
    assert any(re.match(r"\d others", line) for line in lines)


def test_another_key_is_refused():
    with pytest.raises(ValueError, match="by: key must be primitive, direction, line; got 'layer'"):
        profiled().by("layer")


def test_the_picture_has_a_bar_for_each_direction():
    root = ET.fromstring(profiled()._repr_svg_())
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"Time by primitive", "Time by line", "forward", "backward", "multiply"} <= set(texts)


def test_an_empty_profile_has_a_table_and_a_picture():
    with tg.profile() as p:
        pass
    assert "0 us of it in operations" in str(p)
    assert ET.fromstring(p.to_svg()).tag.endswith("svg")


def test_nested_blocks_both_measure():
    x = variable(np.ones((100, 100)))
    with tg.profile() as outer, tg.profile() as inner:
        tg.exp(x)
    for p in (outer, inner):
        assert p.by("direction")["forward"].seconds > 0


def test_another_profiler_is_refused_or_followed():
    profiler = cProfile.Profile()
    profiler.enable()
    try:
        if callable(sys.getprofile()) or sys.getprofile() is None:
            pytest.skip("the profiler does not use the profile function of this version")
        with pytest.raises(RuntimeError, match="profile: another profiler, such as cProfile, is active"), tg.profile():
            pass
    finally:
        profiler.disable()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2e-6, "2 us"),
        (9.994e-4, "999 us"),
        (9.997e-4, "1 ms"),
        (0.0123, "12.3 ms"),
        (0.9997, "1 s"),
        (1234.0, "1234 s"),
    ],
)
def test_times_have_three_digits_and_no_exponent(seconds, text):
    assert profile_module._format_seconds(seconds) == text
