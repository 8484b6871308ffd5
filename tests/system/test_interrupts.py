"""A signal during a block takes effect after it."""

from __future__ import annotations

import signal
import threading

import pytest

from tinygrad_cifar.system.interrupts import deferred_interrupt


@pytest.fixture(autouse=True)
def default_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_block_is_carried_out_as_a_whole():
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupt():  # noqa: PT012 (the block is what is tested)
        signal.raise_signal(signal.SIGINT)
        done.append("after the signal")
    assert done == ["after the signal"]


def test_without_a_signal_nothing_is_raised_and_the_handler_is_the_one_before():
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_after_an_error_the_handler_is_the_one_before():
    with pytest.raises(ZeroDivisionError), deferred_interrupt():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_several_signals_are_one():
    received = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    with deferred_interrupt():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert received == []
    assert received == [signal.SIGINT]


def test_a_signal_that_is_ignored_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with deferred_interrupt():
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_in_another_thread_the_handler_stays():
    found = []

    def block():
        with deferred_interrupt():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=block)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
