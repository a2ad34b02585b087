"""Voting over the socket: what a page is told and what not, where votes go; what the command answers to mistakes."""

import asyncio
import json

import aiohttp
import mistakes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_contest import BLURRED, CLIPS, FRAMES, RIGHT, SEEN, SIDE, toy_contest

from experiments import compare
from experiments.evaluation import votes
from experiments.evaluation.judges import JUDGES
from experiments.evaluation.poll import Poll
from experiments.live import server
from experiments.live.booth import MOST_LETTERS, Booth, read
from experiments.live.messages import BadMessage


def voting_by(served, talk):
    """Run ``talk(say, hear)`` on a socket; ``hear(kind)`` is the next message of a kind, with its bytes."""

    async def run():
        origin = served.url.rstrip("/")
        async with aiohttp.ClientSession() as client, client.ws_connect(served.url + "socket", origin=origin) as ws:

            async def say(**said):
                await ws.send_str(json.dumps(said))

            async def hear(kind):
                async with asyncio.timeout(20):
                    async for message in ws:
                        binary, header, rest = message.type is aiohttp.WSMsgType.BINARY, message.data, b""
                        if binary:
                            length = int.from_bytes(message.data[:4], "little")
                            header, rest = message.data[4 : 4 + length], message.data[4 + length :]
                        if json.loads(header)["type"] == kind:
                            return json.loads(header), rest
                raise AssertionError(f"the socket ended before a message {kind!r}")

            return await talk(say, hear)

    return asyncio.run(run())


def test_a_page_sees_pairs_until_all_are_voted_on_and_never_whose_they_are(voting):
    async def talk(say, hear):
        told = [(await hear("hello"))[0]]
        await say(type="begin", voter=" anna ")
        for number in range(1, CLIPS + 1):
            header, content = await hear("pair")
            told.append(header)
            assert (header["pair"], header["pairs"], header["seen"]) == (number, CLIPS, SEEN)
            assert len(content) == (SEEN + 3 * FRAMES) * SIDE * SIDE * 3 and len(header["actions"]) == SEEN + FRAMES
            shown = np.frombuffer(content, np.uint8).reshape(-1, SIDE, SIDE, 3)
            left, right, real = (shown[SEEN + i * FRAMES : SEEN + (i + 1) * FRAMES] for i in range(3))
            right_is_left = (left == real).all()
            assert right_is_left != (right == real).all()
            await say(type="vote", pair=number, vote="left" if right_is_left else "right")
        told.append((await hear("done"))[0])
        await say(type="result")
        return told, (await hear("result"))[0]

    told, result = voting_by(voting, talk)
    assert "toy" not in json.dumps(told)
    assert result["tables"][0]["rows"] == [[f"{RIGHT} against {BLURRED}", f"{CLIPS} : 0", "0", "100 % (51, 100)"]]
    assert {vote["voter"] for vote in votes.read(voting.table.poll.path)} == {"anna"}


def test_one_goes_on_where_one_stopped_and_a_stale_vote_does_not_count(voting):
    async def first(say, hear):
        await hear("hello")
        await say(type="begin", voter="anna")
        await hear("pair")
        await say(type="vote", pair=1, vote="none")
        await hear("pair")
        await say(type="vote", pair=1, vote="left")
        assert "not the one" in (await hear("bad"))[0]["says"]

    async def again(say, hear):
        await hear("hello")
        await say(type="begin", voter="anna")
        return (await hear("pair"))[0]["pair"]

    voting_by(voting, first)
    assert voting_by(voting, again) == 2
    assert [vote["vote"] for vote in votes.read(voting.table.poll.path)] == ["none"]


def test_a_file_that_is_damaged_meanwhile_ends_the_voting_and_not_the_server(voting):
    async def talk(say, hear):
        await hear("hello")
        voting.table.poll.path.write_text("?\n")
        await say(type="begin", voter="anna")
        return (await hear("failed"))[0]["says"]

    assert "line 1 is not JSON" in voting_by(voting, talk)
    voting.table.poll.path.unlink()
    assert "hello" in voting_by(voting, lambda say, hear: hear("hello"))[0]["type"]


def test_dreams_that_fail_are_told(tmp_path):
    poll, told = Poll(toy_contest(), tmp_path / "votes.jsonl"), []
    poll.dream = lambda on_batch: 1 / 0
    assert not asyncio.run(Booth(poll, told.append).preparation.done())
    assert told == ["the start failed: division by zero"]


def test_what_a_page_may_say():
    assert read('{"type": "vote", "pair": 3, "vote": "none"}').pair == 3
    assert read('{"type": "begin", "voter": "Ж"}').voter == "Ж"
    for voter in ("x" * (MOST_LETTERS + 1), "a\nb", 7, None):
        with pytest.raises(BadMessage, match="at most"):
            read(json.dumps({"type": "begin", "voter": voter}))
    for said in ({"type": "vote", "pair": 1, "vote": "both"}, {"type": "vote", "vote": "left"}, {"type": "act"}):
        with pytest.raises(BadMessage):
            read(json.dumps(said))


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.lists(st.none(), max_size=2)
SAID = st.fixed_dictionaries(
    {"type": st.sampled_from(["begin", "vote", "result"])}, optional=dict.fromkeys(("voter", "vote", "pair"), VALUES)
)


@settings(max_examples=100)
@given(SAID)
def test_whatever_is_said_is_understood_or_refused(said):
    try:
        read(json.dumps(said))
    except BadMessage as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--runs", "a"], "two models are compared at least"),
        ([], "two models are compared at least"),
        (["--runs", "a", "b", "--judge=taste"], f"'taste' is not one of {', '.join(JUDGES)}"),
        (["--runs", "a", "b", "--clips=0"], "'0' is not a whole number of at least 1"),
        (["--runs", "a", "b", "--judge=psnr"], "--runs=a: --workdir=a holds no run"),
        (["--runs", "a", "b"], "--runs=a: --workdir=a holds no run"),
        (["--weights", "none_such", "voxel"], "none_such"),
        (["--summary", "--runs", "a"], "--summary counts what --votes holds"),
        (["--summary", "--judge=psnr"], "not allowed with"),
        (["--summary"], "--votes=votes.jsonl: there is no such file"),
        (["--summary", "--votes=."], "cannot be read"),
        (["--runs", "a", "b", "--votes=."], "is a folder"),
        (["--runs", "a", "b", "--votes="], "--votes is empty"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    assert words in mistakes.answer(capsys, compare.main, *flags)


def test_metrics_vote_and_a_file_is_counted_without_a_page(tmp_path, monkeypatch, capsys):
    path = tmp_path / "votes.jsonl"
    monkeypatch.setattr(compare, "_poll", lambda options: Poll(toy_contest(), options.votes, options.real))
    who = ["--runs", "a", "b", f"--votes={path}"]
    assert compare.main([*who, "--judge=psnr,regret"]) == 0
    printed = capsys.readouterr().out
    assert f"  {RIGHT} against {BLURRED}  {CLIPS} : 0" in printed
    assert compare.main(["--summary", f"--votes={path}"]) == 0
    assert f"The metric regret, {CLIPS} votes" in capsys.readouterr().out
    path.write_text(path.read_text() + "{}\n")
    assert "line 9 is no vote" in mistakes.answer(capsys, compare.main, "--summary", f"--votes={path}")


def test_who_stops_the_server_reads_the_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compare, "_poll", lambda options: Poll(toy_contest(), options.votes, options.real))
    monkeypatch.setattr(server, "serve", lambda app, host, port, opens, says: says("http://there/") or 0)
    assert compare.main(["--runs", "a", "b", f"--votes={tmp_path / 'votes.jsonl'}", "--no-browser"]) == 0
    printed = capsys.readouterr().out
    assert "vote at http://there/" in printed and printed.endswith("no votes yet\n")


def test_the_help_names_every_metric():
    assert all(name in compare.__doc__ for name in JUDGES)
