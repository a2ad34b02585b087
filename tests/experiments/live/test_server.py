"""The server: who may come in, what a page is told, and that nothing it says, and no leaving, harms it."""

import asyncio
import contextlib
import json
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.live import messages, play_socket, server
from experiments.live.server import loopback
from experiments.stages import trajectory_file


async def ask(served, path, **headers):
    async with aiohttp.ClientSession() as client, client.get(served.url.rstrip("/") + path, headers=headers) as answer:
        return answer.status, await answer.read(), answer.headers


def socket(client, served, origin=None):
    return client.ws_connect(served.url + "socket", origin=served.url.rstrip("/") if origin is None else origin)


async def until(ws, kind, seconds=180):
    """The first message of a kind: a dict, or (header, bytes)."""
    async with asyncio.timeout(seconds):
        async for message in ws:
            if message.type is aiohttp.WSMsgType.TEXT:
                said = json.loads(message.data)
                if said["type"] == kind:
                    return said
            elif message.type is aiohttp.WSMsgType.BINARY:
                (length,) = struct.unpack_from("<I", message.data)
                header = json.loads(message.data[4 : 4 + length])
                if header["type"] == kind:
                    return header, message.data[4 + length :]
    raise AssertionError(f"the socket ended before a message {kind!r}")


async def many(ws, count=20):
    """The next pictures."""
    return [await until(ws, "picture") for _ in range(count)]


def status(served):
    return json.loads(asyncio.run(ask(served, "/status"))[1])


def gone(served, sessions=0, seconds=5.0):
    """Whether there are only so many sessions left within so many seconds."""
    end = time.monotonic() + seconds
    while status(served)["sessions"] != sessions:
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


@pytest.mark.parametrize("path", ["/", "/play.js", "/keys.js", "/pictures.js", "/socket.js", "/style.css", "/icon.svg"])
def test_pages_load_nothing_from_outside(served, path):
    code, content, headers = asyncio.run(ask(served, path))
    assert code == 200 and "default-src 'self'" in headers["Content-Security-Policy"]
    text = content.decode().replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in text and "https://" not in text and "//cdn" not in text


@pytest.mark.parametrize("path", ["/../server.py", "/%2e%2e/server.py", "/pages/play.html", "/server.py", "/play.html"])
def test_no_path_reaches_a_file(served, path):
    assert asyncio.run(ask(served, path))[0] == 404


def test_who_comes_under_another_name_is_sent_away(served):
    assert asyncio.run(ask(served, "/", Host="evil.example"))[0] == 403


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:1"])
def test_a_page_of_another_origin_gets_no_socket(served, origin):
    async def come():
        async with aiohttp.ClientSession() as client:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await socket(client, served, origin)
            assert refused.value.status == 403

    asyncio.run(come())


def test_keys_come_back_as_pictures_and_two_pages_are_two_worlds(served):
    async def play():
        async with aiohttp.ClientSession() as client, socket(client, served) as one, socket(client, served) as other:
            hello, _ = await asyncio.gather(until(one, "hello"), until(other, "hello"))
            assert [f["name"] for f in hello["factors"]] == ["move", "yaw"] and hello["height"] == 16
            await one.send_str(json.dumps({"type": "act", "held": {"move": 1}, "stamp": 77.0}))
            await other.send_str(json.dumps({"type": "hold", "on": True}))
            # Both are read at once: who does not read answers no heartbeat either, and is let go.
            ones, pictures = await asyncio.gather(many(one), many(other))
            header, content = ones[-1]
            assert header["stamp"] == 77.0 and header["held"][0] == 1 and header["panels"] == ["real", "dream"]
            assert len(content) == 2 * 16 * 16 * 3
            assert pictures[-1][0]["stamp"] == 0 and pictures[-1][0]["held"][0] == 0
            assert pictures[-1][0]["holding"]
            assert len(served.table.sessions) == 2

    asyncio.run(play())
    assert gone(served)


def test_a_page_that_shows_slowly_plays_slower_and_not_later(served, monkeypatch):
    """No more pictures are on their way than a few; who tells no longer what it has shown is waited for no longer."""
    monkeypatch.setattr(play_socket, "PATIENCE", 1.5)

    async def play():
        async with aiohttp.ClientSession() as client, socket(client, served) as ws:
            header, _ = await until(ws, "picture")
            ticks = []
            for _ in range(4):
                await ws.send_str(json.dumps({"type": "seen", "tick": header["tick"]}))
                began = header["tick"]
                with contextlib.suppress(TimeoutError):
                    for _ in range(20):
                        header, _ = await until(ws, "picture", seconds=0.7)
                ticks.append(header["tick"] - began)
            assert all(0 < came <= 6 for came in ticks)
            told = header["tick"]
            while (await until(ws, "picture"))[0]["tick"] < told + 10:
                pass

    asyncio.run(play())


def test_who_leaves_without_a_word_is_let_go_within_five_seconds(served):
    async def leave():
        client = aiohttp.ClientSession()
        ws = await socket(client, served)
        await until(ws, "picture")
        (session,) = served.table.sessions
        ws._response.connection.transport.abort()  # as where a machine is switched off
        return session

    session = asyncio.run(leave())
    assert gone(served)
    assert session._reality is None


def test_settings_records_and_finds(served, tmp_path):
    async def play():
        async with aiohttp.ClientSession() as client, socket(client, served) as ws:
            await until(ws, "hello")
            for said in (
                {"type": "record", "on": True},
                {"type": "hunt", "on": True},
                {"type": "set", "name": "third", "value": "mirrored"},
                {"type": "set", "name": "steps", "value": 1},
                {"type": "set", "name": "temperature", "value": 0.5},
            ):
                await ws.send_str(json.dumps(said))
            hunt = await until(ws, "hunt")
            assert hunt["kept"] and hunt["score"] is None and hunt["regret"] > 0
            assert [row["who"] for row in hunt["board"]] == ["you"]
            await ws.send_str('{"type": "clip", "format": "webp"}')
            header, content = await until(ws, "file")
            assert header["kind"] == "image/webp" and content[:4] == b"RIFF"
            await ws.send_str('{"type": "finds"}')
            header, content = await until(ws, "file")
            assert header["name"] == "finds.npz"
            while True:
                header, _ = await until(ws, "picture")
                if header["sampling"]["steps"] == 1:
                    return content

    content = asyncio.run(play())
    (written,) = served.table.finds.glob("*.npz")
    found = trajectory_file.read(written)
    assert found.frames.shape[1:] == (6, 16, 16, 3) and found.found[0]["weights"] == "toy"
    (tmp_path / "sent.npz").write_bytes(content)
    np.testing.assert_array_equal(trajectory_file.read(tmp_path / "sent.npz").actions[0], found.actions[0])


WORDS = st.text(max_size=30) | st.binary(max_size=30) | st.sampled_from(
    ['{"type": "act", "held": {"move": 99}}', '{"type": "set", "name": "steps", "value": 1e300}', "[]", "null", "{}"]
)


def test_nothing_that_a_page_says_ends_the_server(served):
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(WORDS, min_size=1, max_size=5))
    def say(words):
        async def talk():
            async with aiohttp.ClientSession() as client, socket(client, served) as ws:
                for word in words:
                    await (ws.send_bytes(word) if isinstance(word, bytes) else ws.send_str(word))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        await ws.receive()

        asyncio.run(talk())

    say()

    async def well():
        async with aiohttp.ClientSession() as client, socket(client, served) as ws:
            assert await until(ws, "picture")

    assert gone(served, seconds=15)
    asyncio.run(well())


@pytest.mark.parametrize("word", ["x" * 9000, None], ids=["long", "many"])
def test_long_and_many_messages_end_a_socket(served, word):
    async def flood():
        async with aiohttp.ClientSession() as client, socket(client, served) as ws:
            await until(ws, "hello")
            for _ in range(1 if word else 3 * messages.MOST_A_SECOND):
                try:
                    await ws.send_str(word or '{"type": "resync"}')
                except ConnectionError:
                    break
            async with asyncio.timeout(20):
                async for _ in ws:
                    pass
            return ws.close_code

    # Who is still sending when the server ends it may be cut off before he reads why: 1006.
    assert asyncio.run(flood()) in (1006, 1008, 1009)


def test_only_so_many_pages_at_once(served, monkeypatch):
    monkeypatch.setattr(server, "MOST_SOCKETS", 1)

    async def two():
        async with aiohttp.ClientSession() as client, socket(client, served) as ws:
            await until(ws, "hello")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await socket(client, served)
            assert refused.value.status == 503

    asyncio.run(two())


def test_who_stops_the_server_does_not_wait_for_a_program_that_is_compiled(monkeypatch):
    ended, release, compiles = [], threading.Event(), ThreadPoolExecutor(1, server.THREAD_NAMES)
    monkeypatch.setattr(server.os, "_exit", ended.append)
    compiles.submit(release.wait, 60)
    compiles.shutdown(wait=False)
    assert server._end(0, 0.1) == 0 and ended == [0]
    release.set()
    assert server._end(0, 10.0) == 0 and ended == [0]


def test_what_is_loopback():
    assert all(map(loopback, ("127.0.0.1", "localhost", "::1"))) and not any(map(loopback, ("0.0.0.0", "example.org")))
