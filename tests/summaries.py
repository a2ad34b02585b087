"""What tests tell when all have ended: how far each port is from its original, and tables.

Fixtures and a hook of ``conftest.py``. What a test tells travels with its report, also from one process of
pytest-xdist to the other.
"""

import numpy as np
import pytest

PROPERTY, SHOWN = "deviation", "shown"


@pytest.fixture
def held_to(record_property):
    """``f(port, ours, theirs, atol)``: asserts that both arrays have one shape and are nowhere further apart."""

    def held_to(port, ours, theirs, atol):
        ours, theirs = np.asarray(ours), np.asarray(theirs)
        assert ours.shape == theirs.shape, port
        record_property(PROPERTY, [port, float(np.abs(ours - theirs).max()), atol])
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=atol, err_msg=port)

    return held_to


@pytest.fixture
def show(record_property):
    """``f(title, text)``: printed when the tests end."""
    return lambda title, text: record_property(SHOWN, [title, text])


def largest(reports):
    """{(port, tolerance): largest deviation} of what the tests have recorded, in order of their names."""
    found = {}
    for port, apart, atol in _told(reports, PROPERTY):
        found[port, atol] = np.maximum(apart, found.get((port, atol), 0.0))  # nan stays
    return dict(sorted(found.items()))


def _told(reports, kind):
    return [value for report in reports for name, value in getattr(report, "user_properties", ()) if name == kind]


def pytest_terminal_summary(terminalreporter):
    """What was shown, and a table in Markdown if any test has measured a port."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    for title, text in dict(_told(reports, SHOWN)).items():
        terminalreporter.section(title)
        terminalreporter.write_line(text)
    found = largest(reports)
    if found:
        terminalreporter.section("largest deviations of the ports")
        terminalreporter.write_line("| port, and what it is compared with | largest deviation | tolerance |")
        terminalreporter.write_line("|---|---|---|")
        for (port, atol), apart in found.items():
            terminalreporter.write_line(f"| {port} | {apart:.1e} | {atol:.0e} |")
