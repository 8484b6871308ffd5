"""The progress display: lines at equal distances, or a bar in a terminal."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_cifar.system.progress import show_progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal, with what is visible after each carriage return."""

    def isatty(self) -> bool:
        return True

    def states(self) -> list[str]:
        return [state.strip() for state in self.getvalue().replace("\n", "\r").split("\r") if state.strip()]


def open_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Let the errors of this test go to a terminal; pytest would replace one that a fixture opens."""
    pytest.importorskip("tqdm")
    stream = Terminal()
    monkeypatch.setattr("sys.stderr", stream)
    monkeypatch.setenv("COLUMNS", "80")
    return stream


def test_without_a_limit_all_lines_are_printed(capsys):
    with show_progress("copy") as display:
        for k in range(3):
            display.update(k, 2, lines=[f"{k}", "and"])
    assert capsys.readouterr() == ("0\nand\n1\nand\n2\nand\n", "")


@given(st.integers(1, 60), st.integers(1, 20))
def test_lines_are_printed_at_equally_spaced_points(total, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", out := io.StringIO())
        with show_progress("copy", max_lines=most) as display:
            for k in range(total + 1):
                display.update(k, total, lines=[str(k)])
    printed = [int(line) for line in out.getvalue().split()]
    assert [most * k // total for k in printed] == sorted({most * k // total for k in range(total + 1)})


def test_updates_without_lines_do_not_count(capsys):
    with show_progress("copy", max_lines=2) as display:
        display.update(0, 2)
        display.update(0, 2, lines=["start"])
        display.write("beside")
    assert capsys.readouterr().out == "start\nbeside\n"


def test_a_task_without_work_is_complete(capsys):
    with show_progress("copy", max_lines=2) as display:
        display.update(0, 0, lines=["nothing to do"])
    assert capsys.readouterr().out == "nothing to do\n"


def test_a_terminal_shows_a_bar_instead_of_lines(monkeypatch, capsys):
    terminal = open_terminal(monkeypatch)
    with show_progress("copy", max_lines=2, mininterval=0) as display:
        display.update(0, 4, lines=["0 of 4"])
        display.update(3, 4, status="loss=0.5", lines=["3 of 4"])
    assert capsys.readouterr().out == ""
    last = terminal.states()[-1]
    assert last.startswith("copy:  75%|")
    assert "| 3/4 [" in last
    assert last.endswith(", loss=0.5]")
    assert max(map(len, terminal.states())) < 80


def test_a_resumed_task_begins_where_it_was(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with show_progress("copy", mininterval=0) as display:
        display.update(3, 4)
    assert terminal.states()[0].startswith("copy:  75%|")


def test_with_another_label_the_bar_starts_again(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with show_progress("copy", mininterval=0) as display:
        display.update(2, 2)
        display.update(1, 4, label="check")
    assert terminal.states()[-1].startswith("check:  25%|")
    assert "| 1/4 [" in terminal.states()[-1]


def test_with_the_same_label_the_bar_goes_on(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with show_progress("copy", mininterval=0) as display:
        display.update(1, 4, label="copy")
        display.update(2, 4, label="copy")
    assert {state.split("|")[0] for state in terminal.states()} == {"copy:  25%", "copy:  50%"}


def test_a_line_is_written_above_the_bar(monkeypatch, capsys):
    terminal = open_terminal(monkeypatch)
    with show_progress("copy", mininterval=0) as display:
        display.update(1, 4)
        display.write("a message")
    assert "a message" in capsys.readouterr().out
    assert terminal.states()[-1].startswith("copy:  25%|")


def test_the_format_of_the_bar_can_be_chosen(monkeypatch):
    terminal = open_terminal(monkeypatch)
    with show_progress("copy", bar_format="{desc} {percentage:.0f}", mininterval=0) as display:
        display.update(1, 4)
    assert terminal.states()[-1] == "copy 25"
