"""What a run says while it runs: one line of progress to the terminal."""

import math
import shutil
import sys
import time


class Progress:
    """One line of progress: ``name  123/1500  loss 0.123  psnr 25.1  12.3 it/s  1:23 left``.

    A terminal sees the line rewritten in place; a pipe or a file gets a fresh line about every
    ten seconds and a last one. Lines are under 80 columns, or the terminal's width: figures that
    find no room are left out, the last ones first. Use it as a context manager; it ends its line
    also when the work is interrupted.

    The rate and the time left count from the first ``update``, so a resumed stage shows its own.
    """

    COLUMNS = 79
    TERMINAL_SECONDS = 0.1
    muted = False  # of several processes one shows its progress
    PIPE_SECONDS = 10.0

    def __init__(self, name, total, out=None, clock=time.monotonic):
        """Args: name, shown first; total, the last step; out, a text file (default stderr)."""
        self._name, self._total, self._clock = name, total, clock
        self._out = sys.stderr if out is None else out
        self._terminal = bool(getattr(self._out, "isatty", lambda: False)())
        # One column stays free, or some terminals go to a new line.
        self._columns = (
            min(self.COLUMNS, shutil.get_terminal_size().columns - 1) if self._terminal else self.COLUMNS
        )
        self._began = clock()
        self._first = None  # (step, time) of the first update
        self._shown_at = None
        self._line = ""
        self._unshown = False

    def __enter__(self):
        self._began = self._clock()
        return self

    def update(self, step, **figures):
        """Say that ``step`` of ``total`` is done; ``figures`` are numbers, shown in their order."""
        now = self._clock()
        if self._first is None:
            self._first = (step, now)
        self._line = self._compose(step, figures, now)
        self._unshown = True
        wait = self.TERMINAL_SECONDS if self._terminal else self.PIPE_SECONDS
        if self._shown_at is None or now - self._shown_at >= wait:
            self._show(now)

    def __exit__(self, kind, value, trace):
        if self._unshown:
            self._show(self._clock())
        if self._terminal and self._line:
            self._write("\n")
        return False

    def _compose(self, step, figures, now):
        first_step, first_time = self._first
        done, seconds = step - first_step, now - first_time
        head = f"{self._name}  {step}/{self._total}"
        tail = ""
        if step >= self._total:
            tail = f"  took {_clock_face(now - self._began)}"
        elif done > 0 and seconds > 0:
            rate = done / seconds
            pace = f"{rate:.1f} it/s" if rate >= 1 else f"{1 / rate:.1f} s/it"
            tail = f"  {pace}  {_clock_face((self._total - step) / rate)} left"
        middle = ""
        for name, value in figures.items():
            part = f"  {name} {_figure(value)}"
            if len(head) + len(middle) + len(part) + len(tail) > self._columns:
                break
            middle += part
        return (head + middle + tail)[: self._columns]

    def _show(self, now):
        # On a terminal, spaces wipe what a longer line before it left.
        self._write(f"\r{self._line:<{self._columns}}" if self._terminal else self._line + "\n")
        self._shown_at, self._unshown = now, False

    def _write(self, text):
        if self.muted:
            return
        try:
            self._out.write(text)
            self._out.flush()
        except (OSError, ValueError):
            pass  # a reader that went away must not end the training


def _figure(value):
    """A number in about four digits: 0.1234, 25.12, 1234, 1.2e-05."""
    value = float(value)
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size >= 1e5 or 0 < size < 1e-3:
        return f"{value:.1e}"
    return f"{value:.{4 if size < 1 else 3 if size < 10 else 2 if size < 100 else 0}f}"


def _clock_face(seconds):
    """Seconds as ``m:ss`` or ``h:mm:ss``."""
    minutes, seconds = divmod(round(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
