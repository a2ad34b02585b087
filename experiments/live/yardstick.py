"""What a person's seconds are measured by: how wrong the dream is where the demonstrator, or pi_ref, goes.

For shipped weights it lies in ``yardsticks/NAME.json``, made by ``python -m experiments.play --yardstick`` and valid
for these very weights alone.
"""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent / "yardsticks"


def stored(played):
    """The yardstick of these weights and this task, or None."""
    for path in sorted(FOLDER.glob("*.json")):
        known = json.loads(path.read_text())
        if (known["weights"], known["task"], known["horizon"]) == (played.weights, played.task, played.horizon):
            return known
    return None


def measure_of(played):
    """raw score -> {"mean", "std"} to standardise by: of the buffer, else of the yardstick, else None."""
    if played.buffer is not None:
        mean, std = played.buffer["mean"], played.buffer["std"]
        return {name: {"mean": mean[name], "std": std[name]} for name in mean}
    known = stored(played)
    return known and known["raw"]


def rows(played):
    """Rows of the leader board for those who went before."""
    board = []
    if played.buffer is not None:
        board.append({"who": "the adversary's buffer", "regret": played.buffer["mean"]["regret"], "best": None})
    known = stored(played)
    if known is not None:
        board.append({"who": known["who"], "regret": known["raw"]["regret"]["mean"], "best": known["best"]})
    return board


def says(played):
    """Whose seconds they are, in words."""
    known = stored(played)
    return f"{known['seconds']} seconds of {known['who']}" if known else "nothing"
