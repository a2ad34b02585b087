"""Votes of a blind comparison: one JSON line each in a file that only grows, and what they say when counted.

A vote is {"time", "seed", "clip", "left", "right", "steps", "vote", "voter", "judge", "real", "frames"}: when (UTC),
the seed of clips and noise, the clip's name (``stages.clip_stores.clip_name``), who dreamt which side and after how
many updates [left, right], "left", "right" or "none", a person's name, the metric that voted in a person's stead or
null, whether the real frames stood beside, and how many frames were shown.
"""

import itertools
import json
import os

import numpy as np

from experiments.run.config_file import UsageError
from prowl_jax.metrics.preference import elo, wilson_interval

FILE = "votes.jsonl"
SIDES = ("left", "right", "none")
KINDS = {
    "time": str, "seed": int, "clip": str, "left": str, "right": str, "steps": list, "vote": str, "voter": str,
    "judge": str | None, "real": bool, "frames": int,
}  # fmt: skip
PAIRS = ("dreams of", "votes", "no difference", "share (95 %)")
ELO = ("dreams of", "Elo (95 %)")


def read(path):
    """The votes in a file, in order; none where there is no file.

    Raises:
      UsageError: names the file and the first line that is no vote, or says that the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    votes = []
    for number, line in enumerate(lines, 1):
        try:
            votes.append(_checked(json.loads(line)))
        except (ValueError, RecursionError) as error:
            why = "is not JSON" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
            raise UsageError(f"{path}, line {number} {why}: mend the line or take it out") from None
    return votes


def _checked(vote):
    if not isinstance(vote, dict):
        raise ValueError("is no vote")
    for name, kind in KINDS.items():
        if not isinstance(vote.get(name, b""), kind) or (kind is int and isinstance(vote[name], bool)):
            raise ValueError(f"is no vote: {name} is missing or of another kind")
    steps = vote["steps"]
    if vote["vote"] not in SIDES or vote["left"] == vote["right"] or [type(s) for s in steps] != [int, int]:
        raise ValueError("is no vote: it takes left, right or none, of two different models, and the steps of both")
    return vote


def append(path, votes):
    """Add votes to a file; they are on the disk when this returns. OSError where that cannot be."""
    text = "".join(json.dumps(vote) + "\n" for vote in votes)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            text = text if file.read(1) == b"\n" else "\n" + text  # somebody's editor left out the last newline
        file.write(text.encode())  # one write, at the end whoever else writes
        file.flush()
        os.fsync(file.fileno())


def ballot(vote):
    """What a voter is asked once: the voter, the judge, the clip, and the pair whichever side they stood on."""
    sides = frozenset(zip((vote["left"], vote["right"]), vote["steps"], strict=True))
    return vote["voter"], vote["judge"], vote["seed"], vote["clip"], vote["frames"], sides


def summary(votes, first=(), resamples=2000):
    """What votes say, people's together and each metric's by itself: a list of dicts.

    ``who``: "people" or the metric; ``voters``; ``votes``; ``pairs``: dicts a, b, ``wins`` of a, ``losses``, ``ties``
    and the share of decided votes that a won with its interval, ``share``, ``low``, ``high``; ``elo``: name -> value,
    low, high, above the first of the names. A metric's has ``agrees``: of the decided votes of people on pairs that it
    decided, ``share``, ``low``, ``high`` and ``votes`` on which it says the same.

    Who votes on a pair again, as in another tab, is heard once, the last time.

    Args:
      votes: as ``read`` gives them. first: names in the order in which they are told; others follow by the alphabet.
    """
    votes, first = _with_steps(list({ballot(vote): vote for vote in votes}.values()), first)
    names = [*first, *sorted({vote[side] for vote in votes for side in ("left", "right")} - set(first))]
    groups = {}
    for vote in votes:
        groups.setdefault(vote["judge"], []).append(vote)
    people = groups.get(None, [])
    found = []
    for judge in sorted(groups, key=lambda judge: (judge is not None, judge)):
        some = groups[judge]
        there = [name for name in names if any(name in (vote["left"], vote["right"]) for vote in some)]
        group = {
            "who": judge or "people", "voters": len({vote["voter"] for vote in some}), "votes": len(some),
            "pairs": _pairs(some, there), "elo": _elo(some, there, resamples),
        }  # fmt: skip
        found.append(group | ({"agrees": _agreement(some, people)} if judge and people else {}))
    return found


def _with_steps(votes, first):
    """Votes whose names tell models apart: with its step where one name was voted on after several."""
    steps = {}
    for vote in votes:
        for name, step in zip((vote["left"], vote["right"]), vote["steps"], strict=True):
            steps.setdefault(name, set()).add(step)

    def told(name, step):
        return name if len(steps[name]) == 1 else f"{name} at step {step}"

    sides = [{side: told(vote[side], step) for side, step in zip(SIDES, vote["steps"], strict=False)} for vote in votes]
    first = [told(name, step) for name in first if name in steps for step in sorted(steps[name])]
    return [{**vote, **side} for vote, side in zip(votes, sides, strict=True)], first


def _winner(vote):
    """The name that was preferred, or None."""
    return None if vote["vote"] == "none" else vote[vote["vote"]]


def _share(wins, votes):
    low, high = wilson_interval(wins, votes)
    return {"share": wins / votes if votes else None, "low": low, "high": high}


def _pairs(votes, names):
    found = []
    for a, b in itertools.combinations(names, 2):
        winners = [_winner(vote) for vote in votes if {vote["left"], vote["right"]} == {a, b}]
        if winners:
            wins, losses, ties = (winners.count(who) for who in (a, b, None))
            row = {"a": a, "b": b, "wins": wins, "losses": losses, "ties": ties}
            found.append(row | _share(wins, wins + losses))
    return found


def _elo(votes, names, resamples):
    clips = {name: i for i, name in enumerate(dict.fromkeys((vote["seed"], vote["clip"]) for vote in votes))}
    wins = np.zeros((len(clips), len(names), len(names)))
    for vote in votes:
        clip, left, right = clips[vote["seed"], vote["clip"]], names.index(vote["left"]), names.index(vote["right"])
        share = {"left": 1.0, "right": 0.0, "none": 0.5}[vote["vote"]]
        wins[clip, left, right] += share
        wins[clip, right, left] += 1.0 - share
    told = zip(names, elo(wins, resamples=resamples), strict=True)
    return {name: {k: float(v) if np.isfinite(v) else None for k, v in one.items()} for name, one in told}


def _agreement(votes, people):
    said = {ballot(vote)[2:]: _winner(vote) for vote in votes}
    both = [(said.get(ballot(vote)[2:]), _winner(vote)) for vote in people]
    decided = [metric == person for metric, person in both if metric is not None and person is not None]
    return {"votes": len(decided), **_share(sum(decided), len(decided))}


def tables(groups):
    """``summary`` in words, as tables: (title, head, rows of texts) each, for terminal, page and study."""
    found = []
    for group in groups:
        who = group["who"] if group["who"] == "people" else f"the metric {group['who']}"
        title = f"{who.capitalize()}, {group['votes']} vote{'s' * (group['votes'] != 1)}"
        if who == "people":
            title += f" of {group['voters']} voter{'s' * (group['voters'] != 1)}"
        if group.get("agrees", {}).get("votes"):
            title += f", the same as people's in {_percent(group['agrees'])} of {group['agrees']['votes']}"
        found.append((title, PAIRS, [_pair_row(row) for row in group["pairs"]]))
        found.append((f"Elo by {who}", ELO, [[name, _points(x)] for name, x in group["elo"].items()]))
    return found


def _pair_row(row):
    a, b = (row["a"], row["wins"]), (row["b"], row["losses"])
    if row["losses"] > row["wins"]:
        a, b = b, a
        row = {**row, "share": 1 - row["share"], "low": 1 - row["high"], "high": 1 - row["low"]}
    return [f"{a[0]} against {b[0]}", f"{a[1]} : {b[1]}", str(row["ties"]), _percent(row)]


def _percent(row):
    if row["share"] is None:
        return "–"
    return "{:.0f} % ({:.0f}, {:.0f})".format(*(100 * row[key] for key in ("share", "low", "high")))


def _points(row):
    if row["value"] is None:
        return "–"
    if row["low"] == row["high"]:  # the first itself, or all votes are alike: no resample can say anything else
        return f"{row['value']:+.0f}".replace("-", "−") if row["value"] else "0"
    return "{:+.0f} ({:+.0f}, {:+.0f})".format(*(row[key] for key in ("value", "low", "high"))).replace("-", "−")


def text(groups):
    """``tables`` for a terminal; a sentence where there is no vote."""
    parts = []
    for title, head, rows in tables(groups):
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        lines = ["".join(f"  {cell:<{w}}" for cell, w in zip(line, widths, strict=True)) for line in (head, *rows)]
        parts.append("\n".join([title, *map(str.rstrip, lines)]))
    return "\n".join(parts) or "no votes yet"
