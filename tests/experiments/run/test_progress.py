"""The line of progress: its rate, its width, and what a terminal and a pipe see of it."""

import io

import pytest

from experiments.run.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def run(out, steps, total, seconds_a_step, first=1, **figures):
    clock = Clock()
    with Progress("world model", total, out=out, clock=clock) as progress:
        for step in range(first, first + steps):
            clock.now += seconds_a_step
            progress.update(step, **figures)
    return out.getvalue()


def test_rate_and_time_left_count_from_this_sessions_steps():
    # Resumed at step 1001: 200 steps of half a second each, 300 more to go.
    line = run(io.StringIO(), 200, 1500, 0.5, first=1001, loss=0.123456, psnr=25.123).splitlines()[-1]
    assert line == "world model  1200/1500  loss 0.1235  psnr 25.12  2.0 it/s  2:30 left"


def test_slow_steps_and_hours():
    line = run(io.StringIO(), 3, 5000, 4.0).splitlines()[-1]
    assert line == "world model  3/5000  4.0 s/it  5:33:08 left"


def test_a_pipe_gets_a_line_every_ten_seconds_and_the_last():
    lines = run(io.StringIO(), 100, 100, 0.35).splitlines()
    assert [line.split()[2] for line in lines] == ["1/100", "30/100", "59/100", "88/100", "100/100"]
    assert lines[-1].endswith("took 0:35")
    assert not any("\r" in line for line in lines)


def test_a_terminal_sees_one_line_rewritten():
    text = run(Terminal(), 100, 100, 0.35, loss=1.0)
    assert text.count("\n") == 1 and text.endswith("\n")
    assert text.count("\r") == 100


@pytest.mark.parametrize("out", [io.StringIO, Terminal])
def test_lines_are_under_80_columns(out):
    figures = {f"figure_number_{i}": 1.0 for i in range(20)}
    for line in run(out(), 5, 10, 20.0, **figures).replace("\r", "\n").splitlines():
        assert len(line) < 80
        if line.startswith("world model  3/10"):
            assert "figure_number_0 1.000" in line and line.rstrip().endswith("left")


def test_an_interrupt_ends_the_line_and_goes_on_up():
    out = Terminal()
    with pytest.raises(KeyboardInterrupt), Progress("x", 10, out=out) as progress:
        progress.update(1)
        progress.update(2)
        raise KeyboardInterrupt
    assert out.getvalue().endswith("\n") and "2/10" in out.getvalue()


def test_a_reader_that_went_away_does_not_end_the_work():
    out = io.StringIO()
    with Progress("x", 10, out=out) as progress:
        out.close()
        progress.update(1)


def test_no_step_no_line():
    assert run(Terminal(), 0, 10, 1.0) == ""
