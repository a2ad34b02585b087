"""How fast playing is, as a page would see it: to the first picture, pictures a second, key to picture, memory."""

import asyncio
import json
import struct
import time

import aiohttp
import numpy as np

from experiments.live import server
from experiments.run.memory import peak_memory_gb

STEPS = (1, 2, 4)
"""Beside the model's own number."""
KEYS = 20
"""Keys pressed for each number of steps, one after the other."""


def measure(app, began, says=print):
    """Serve ``app`` to a client of its own; ``says`` a line for each figure. ``began``: of ``time.monotonic``."""
    asyncio.run(_measure(app, began, says))


async def _measure(app, began, says):
    ended, there = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(server.serving(app, "127.0.0.1", 0, says=there.set_result, ended=ended))
    url = await there
    try:
        origin = url.rstrip("/")
        async with aiohttp.ClientSession() as client, client.ws_connect(url + "socket", origin=origin) as ws:
            own = (await _picture(ws))["sampling"]["steps"]
            seconds, worked = time.monotonic() - began, time.process_time()
            says(f"first picture after {seconds:.1f} s, {worked:.1f} s of work")
            for steps in sorted({*STEPS, own}):
                says(await _with_steps(ws, steps))
        says(f"peak memory {peak_memory_gb():.2f} GB")
    finally:
        ended.set()
        await serving


async def _with_steps(ws, steps):
    await ws.send_str(json.dumps({"type": "set", "name": "steps", "value": steps}))
    while (await _picture(ws))["sampling"]["steps"] != steps:
        pass
    for _ in range(10):
        await _picture(ws)
    waits, stamp, since, pictures = [], 0.0, time.monotonic(), 0
    for i in range(KEYS):
        stamp += 1.0
        pressed = time.monotonic()
        await ws.send_str(json.dumps({"type": "act", "held": {"move": 1 - i % 2}, "stamp": 1000 * steps + stamp}))
        pictures += 1
        while (await _picture(ws))["stamp"] != 1000 * steps + stamp:
            pictures += 1
        waits.append(1000 * (time.monotonic() - pressed))
        await asyncio.sleep(0.013 * (i % 5))  # keys come at any moment between two pictures
    rate = pictures / (time.monotonic() - since)
    words = f"{steps} Euler step{'s' * (steps > 1)}: {rate:.1f} pictures a second, key to picture"
    return f"{words} {np.median(waits):.0f} ms (median of {KEYS}; 9 in 10 within {np.quantile(waits, 0.9):.0f})"


async def _picture(ws):
    async for message in ws:
        if message.type is aiohttp.WSMsgType.BINARY:
            (length,) = struct.unpack_from("<I", message.data)
            return json.loads(message.data[4 : 4 + length])
    raise RuntimeError("the server closed the socket")
