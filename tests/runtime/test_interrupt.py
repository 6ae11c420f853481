from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from bokeh_runtime.interrupt import defer_interrupt, interruptible


def lose_ctrl_c() -> None:
    """What a library does whose import is interrupted within a bare `except`."""
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        return
    pytest.fail("the interrupt was not raised at once")


def test_a_swallowed_ctrl_c_takes_effect_at_the_next_check() -> None:
    def work() -> None:
        with interruptible() as check:
            check()
            lose_ctrl_c()
            check()
            pytest.fail("the work went on")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_error_after_an_interrupt_is_an_interrupt() -> None:
    def work() -> None:
        with interruptible():
            lose_ctrl_c()
            raise ImportError("numpy.core failed to import")

    with pytest.raises(KeyboardInterrupt):
        work()


def test_an_error_without_an_interrupt_is_unchanged() -> None:
    with pytest.raises(ImportError), interruptible():
        raise ImportError("numpy.core failed to import")


def test_outside_the_main_thread_nothing_changes() -> None:
    before, handlers = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with interruptible() as check:
            check()
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    program = (
        "import signal\n"
        "from bokeh_runtime.interrupt import defer_interrupt, interruptible\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with interruptible() as check:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    check()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_deferred_ctrl_c_is_raised_at_the_end_of_the_block() -> None:
    done = []

    def work() -> None:
        with interruptible(), defer_interrupt():
            signal.raise_signal(signal.SIGINT)
            done.append("the block")
        done.append("more")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["the block"]
