"""The notebook runs from top to bottom, is the same as its text form, and stores no outputs."""

import json
import pathlib
import sys

import jupytext
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """The name of a kernel that is this very Python, whichever are installed."""
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "this Python", "language": "python"}
    folder = tmp_path / "kernels" / "this_python"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    return "this_python"


def test_there_is_a_notebook():
    assert [path.name for path in NOTEBOOKS] == ["quick_tour.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_and_text_are_the_same_and_hold_no_outputs(path):
    """If not: ``jupytext --to ipynb notebooks/quick_tour.py`` makes the notebook from the text."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    text = jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in text.cells]
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


def test_the_quick_tour_runs(kernel):
    """About 50 s of processor time where nothing is in the compilation cache, less after that."""
    notebook = jupytext.read(ROOT / "notebooks" / "quick_tour.py")
    client = nbclient.NotebookClient(
        notebook, timeout=90, kernel_name=kernel, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert "kept the 12 worst: True" in printed
    assert "latent regret" in printed and "nan" not in printed
    assert sum("image/png" in output.get("data", {}) for output in outputs) == pictures(notebook)


def pictures(notebook):
    return sum(cell.source.count("plt.show()") for cell in notebook.cells if cell.cell_type == "code")
