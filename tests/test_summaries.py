"""What is printed when the tests end: the largest deviation of each port (what is too far fails), and tables."""

import types

import numpy as np
import pytest
from summaries import PROPERTY, SHOWN, largest, pytest_terminal_summary


def report(*rows):
    return types.SimpleNamespace(user_properties=[("other", 1), *((PROPERTY, list(row)) for row in rows)])


def test_the_largest_of_each_port_and_a_nan_stays():
    reports = [report(("b", 1e-6, 1e-4), ("a", 3e-6, 1e-4)), report(("a", 2e-6, 1e-4), ("b", np.nan, 1e-4)), object()]
    reports.append(report(("b", 1e-7, 1e-4), ("a", 5e-12, 1e-8)))
    found = largest(reports)
    assert list(found) == [("a", 1e-8), ("a", 1e-4), ("b", 1e-4)]
    assert found["a", 1e-4] == 3e-6 and np.isnan(found["b", 1e-4])


def test_what_is_measured_is_recorded_and_held(held_to, request):
    held_to("a port in this test", np.zeros(3), np.array([0, 1e-6, -3e-6]), 1e-4)
    with pytest.raises(AssertionError, match="far"):
        held_to("far", 0.0, 2e-4, 1e-4)
    with pytest.raises(AssertionError, match="of another shape"):
        held_to("of another shape", np.zeros(3), np.zeros(1), 1e-4)
    properties = request.node.user_properties
    assert properties == [(PROPERTY, ["a port in this test", 3e-6, 1e-4]), (PROPERTY, ["far", 2e-4, 1e-4])]
    properties.clear()  # these are no ports


@pytest.mark.parametrize("reports", [[], [report(("a port", 2.34e-6, 1e-4))]])
def test_a_table_where_there_is_something_to_tell(reports):
    lines = []
    reporter = types.SimpleNamespace(
        stats={"passed": reports, "": [object()]}, section=lines.append, write_line=lines.append
    )
    pytest_terminal_summary(reporter)
    assert lines[3:] == ["| a port | 2.3e-06 | 1e-04 |"] * len(reports)


def test_what_a_test_shows_is_shown_once():
    lines = []
    report = types.SimpleNamespace(user_properties=[(SHOWN, ["a title", "a table\nof two lines"])])
    reporter = types.SimpleNamespace(
        stats={"passed": [report], "": [report]}, section=lines.append, write_line=lines.append
    )
    pytest_terminal_summary(reporter)
    assert lines == ["a title", "a table\nof two lines"]
