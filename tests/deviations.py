"""How far a port is from its original: held to a tolerance where it is measured, and printed when the tests end.

A plugin of ``conftest.py``. What a test measures travels with its report, also from one process of
pytest-xdist to the other.
"""

import numpy as np
import pytest

PROPERTY = "deviation"


@pytest.fixture
def held_to(record_property):
    """``f(port, ours, theirs, atol)``: asserts that both arrays have one shape and are nowhere further apart."""

    def held_to(port, ours, theirs, atol):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert ours.shape == theirs.shape, port
        record_property(PROPERTY, [port, float(np.abs(ours - theirs).max()), atol])
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=port)

    return held_to


def largest(reports):
    """{(port, tolerance): largest deviation} of what the tests have recorded, in order of their names."""
    found = {}
    for report in reports:
        for name, value in getattr(report, "user_properties", ()):
            if name == PROPERTY:
                port, apart, atol = value
                found[port, atol] = np.maximum(apart, found.get((port, atol), 0.0))  # nan stays
    return dict(sorted(found.items()))


def pytest_terminal_summary(terminalreporter):
    """A table in Markdown, if any test has measured a port."""
    found = largest(report for reports in terminalreporter.stats.values() for report in reports)
    if found:
        terminalreporter.section("largest deviations of the ports")
        terminalreporter.write_line("| port, and what it is compared with | largest deviation | tolerance |")
        terminalreporter.write_line("|---|---|---|")
        for (port, atol), apart in found.items():
            terminalreporter.write_line(f"| {port} | {apart:.1e} | {atol:.0e} |")
