"""Each notebook runs from top to bottom, is the same as its text form, and stores no outputs."""

import json
import pathlib
import re
import sys

import jupytext
import nbclient
import nbformat
import pytest

ROOT = pathlib.Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

SIZES = {
    "accelerator": "FOLDER = {folder!r}",
    "dream_controller": """
PLAYERS, PLAYED = 8, 40
MODEL_STEPS, HEAD_STEPS = 8, 8
WIDTH = 8
SEARCH = Evolution(generations=2, population=4, rollouts=2, components=4)
EPISODES = 4
""",
    "pat_and_kl_in_your_project": "CYCLES = 6",
    "quick_tour": "",
    "your_world": """
FOLDER = {folder!r}
CHANGES = [f"--config.{{change}}" for change in (
    "arms=()", "inverse_dynamics.steps=0", "reference.steps=4", "metrics.frechet=",
    "env.held_out_tasks=()", "env.num_envs=2", "env.workers=1",
    "demonstrations.episodes=4", "demonstrations.episode_frames=24",
    "world_model.steps=4", "world_model.unet.widths=(8,)", "world_model.unet.blocks=(1,)",
    "world_model.unet.motion=False", "world_model.unet.predict_residual=False", "world_model.unet.attention=False",
    "world_model.unet.own_frames=(1,)", "world_model.unet.own_since=(0.0,)",
    "evaluation.clips=4", "evaluation.long_clips=2",
)]
""",
}
"""What stands in the place of each notebook's parameters. What takes longest to compile is left out of ``your_world``,
phase 2; ``accelerator`` has the programs of tests/experiments/test_voxel_run.py."""

SAYS = {
    "accelerator": ("works in", "phase2/prowl", "mean error of a pixel"),
    "dream_controller": ("learned in dreams", "temperature 1.5"),
    "pat_and_kl_in_your_project": ("a buffer of 64 clips", "no anchor"),
    "quick_tour": ("kept the 12 worst: True", "latent regret"),
    "your_world": ("([noop], fire", "report/index.html", "regret_over_repeat_last_frame"),
}

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


def test_every_notebook_has_a_size_and_is_in_the_readme():
    assert {path.stem for path in NOTEBOOKS} == set(SIZES) == set(SAYS)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"notebooks/{name}.ipynb" in readme for name in SIZES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_and_text_are_the_same_and_hold_no_outputs(path):
    """If not: ``jupytext --to ipynb notebooks/NAME.py`` makes the notebook from the text."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    text = jupytext.read(path.with_suffix(".py"))
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in text.cells]
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None


@pytest.mark.parametrize("name", SIZES)
def test_it_runs_at_a_tiny_size(name, kernel, tmp_path, monkeypatch):
    """The quick tour 50 s of processor time where nothing is in the compilation cache, the others less."""
    if name == "your_world":
        pytest.importorskip("ale_py")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # envpool sets it where it is imported, and kernels inherit it
    notebook = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    resize(notebook, SIZES[name].format(folder=str(tmp_path / "runs")))
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name=kernel, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = "".join(output.text for output in outputs if output.output_type == "stream")
    assert all(words in printed for words in SAYS[name]) and not re.search(r"\bnan\b", printed)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= pictures(notebook) > 0


def resize(notebook, code):
    """Put ``code`` behind the cell with the tag ``parameters``, as papermill does."""
    places = [i for i, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ())]
    if code:
        (place,) = places
        notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(code))


def pictures(notebook):
    return sum(cell.source.count("plt.show()") for cell in notebook.cells if cell.cell_type == "code")
