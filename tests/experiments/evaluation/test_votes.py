"""Votes: what is written down, what is refused, what is counted, and that metrics and chance do as they should."""

import json

import numpy as np
import pytest
from toy_contest import BLURRED, CLIPS, RIGHT, toy_contest

from experiments.evaluation import votes
from experiments.evaluation.judges import JUDGES
from experiments.evaluation.poll import Poll
from experiments.run.config_file import UsageError


def vote(left="a", right="b", said="left", clip="c", voter="v", judge=None, steps=(1, 1)):
    return {
        "time": "2026-01-01T00:00:00+00:00", "seed": 0, "clip": clip, "left": left, "right": right,
        "steps": list(steps), "vote": said, "voter": voter, "judge": judge, "real": False, "frames": 3,
    }  # fmt: skip


@pytest.fixture
def poll(tmp_path):
    made = Poll(toy_contest(), tmp_path / "votes.jsonl")
    made.dream()
    return made


def test_what_was_written_is_read_and_nothing_is_lost_behind_an_editor(tmp_path):
    path = tmp_path / "votes.jsonl"
    assert votes.read(path) == []
    one, other = vote(), vote(said="none", voter="ж")
    votes.append(path, [one])
    path.write_text(path.read_text().rstrip("\n"))
    votes.append(path, [other])
    assert votes.read(path) == [one, other] and path.read_text().count("\n") == 2


@pytest.mark.parametrize(
    "line",
    [
        '{"time": "2026', "[]", "7", "", "\x00", json.dumps(vote(said="both")), json.dumps(vote(left="b")),
        json.dumps(vote(steps=(1, True))), json.dumps({**vote(), "seed": None}), "[" * 100_000,
        json.dumps({k: v for k, v in vote().items() if k != "judge"}),
    ],
    ids=range(11),
)  # fmt: skip
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "votes.jsonl"
    path.write_text(f"{json.dumps(vote())}\n{line}\n{json.dumps(vote())}\n")
    with pytest.raises(UsageError, match=r"votes\.jsonl, line 2 is no[^\n]+$"):
        votes.read(path)


def test_votes_are_counted_for_whoever_was_on_that_side():
    said = [vote(clip=str(i)) for i in range(6)] + [vote("b", "a", "left", "x"), vote("b", "a", "none", "y")]
    said += [vote(clip="0", said="right"), vote(clip="z", judge="psnr", voter="", said="right")]  # one thought again
    people, metric = votes.summary(said, ("b", "a"), resamples=50)
    (pair,) = people["pairs"]
    assert (people["who"], people["voters"], people["votes"]) == ("people", 1, 8)
    assert [pair[k] for k in ("a", "b", "wins", "losses", "ties")] == ["b", "a", 2, 5, 1]
    assert pair["share"] == pytest.approx(2 / 7) and pair["low"] < 2 / 7 < pair["high"]
    assert list(people["elo"]) == ["b", "a"] and people["elo"]["a"]["value"] == pytest.approx(
        400 * np.log10((5.5 + 0.5) / (2.5 + 0.5))
    )
    assert metric["who"] == "psnr" and metric["agrees"]["votes"] == 0
    (title, head, rows), *_ = votes.tables([people])
    assert title == "People, 8 votes of 1 voter" and rows == [["a against b", "5 : 2", "1", "71 % (36, 92)"]]
    assert len(head) == len(rows[0])


def test_one_name_at_two_steps_is_two_models():
    said = [vote(), vote(steps=(1, 9))]
    (people,) = votes.summary(said, ("a", "b"), resamples=50)
    assert list(people["elo"]) == ["a", "b at step 1", "b at step 9"] and len(people["pairs"]) == 2


def test_a_metric_agrees_with_people_where_both_decided():
    said = [vote(clip=c, said=s) for c, s in zip("1234", ("left", "right", "left", "none"), strict=True)]
    said += [vote("b", "a", s, c, "", "psnr") for c, s in zip("1235", ("right", "right", "none", "left"), strict=True)]
    _, metric = votes.summary(said, resamples=50)
    assert (metric["agrees"]["votes"], metric["agrees"]["share"]) == (2, 0.5)
    assert "the same as people's in 50 %" in votes.text([metric])


def test_no_votes():
    assert votes.summary([]) == [] and votes.text([]) == "no votes yet"


def test_sides_and_order_are_chance_that_a_seed_repeats(tmp_path):
    poll = Poll(toy_contest(clips=200), tmp_path / "votes.jsonl")
    pairs = poll.left_to("anna")
    assert pairs == poll.left_to("anna") != poll.left_to("otto")
    assert sorted(pair.clip for pair in pairs) == list(range(200)) != [pair.clip for pair in pairs]
    assert 70 < sum(pair.left == 0 for pair in pairs) < 130
    assert Poll(toy_contest(clips=200, seed=1), poll.path).left_to("anna") != pairs


def test_who_comes_again_goes_on_and_others_begin(poll):
    first, second, *rest = poll.left_to("anna")
    poll.cast(first, "left", "anna")
    assert poll.left_to("anna") == [second, *rest] and len(poll.left_to("otto")) == CLIPS
    (line,) = votes.read(poll.path)
    names = [RIGHT, BLURRED]
    assert (line["left"], line["right"]) == (names[first.left], names[first.right])
    assert line["steps"] == [[30, 40][first.left], [30, 40][first.right]] and not line["real"]


@pytest.mark.parametrize("judge", JUDGES)
def test_every_metric_votes_for_the_dream_that_is_right_and_only_once(poll, judge):
    poll.judged(judge)
    poll.judged(judge)
    (group,) = poll.result()
    (pair,) = group["pairs"]
    assert (group["who"], pair["a"], pair["wins"], pair["losses"], pair["ties"]) == (judge, RIGHT, CLIPS, 0, 0)
    assert group["elo"][RIGHT]["value"] == 0 and group["elo"][BLURRED]["value"] < -200


def test_a_metric_to_which_both_are_the_same_says_so(poll):
    poll.dreams[0] = poll.dreams[1]
    poll.judged("sharpness")
    assert poll.result()[0]["pairs"][0]["ties"] == CLIPS


def test_where_things_moved_is_judged_by_the_flow_that_is_configured(tmp_path):
    def still(params, first, second):
        return params * first[..., :2]

    poll = Poll(toy_contest(flow=(still, np.float32(0.0))), tmp_path / "votes.jsonl")
    poll.dream()
    poll.judged("afs_epe")
    assert poll.result()[0]["pairs"][0]["ties"] == CLIPS


def test_a_poll_does_not_begin_on_a_damaged_file(tmp_path):
    (tmp_path / "votes.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="line 1 is no vote"):
        Poll(toy_contest(), tmp_path / "votes.jsonl")
