"""The server of the live pages: a few fixed files, and a socket for each who plays. It listens on loopback by default.

No path of a request reaches the file system: pages are read once, by names that stand here. A socket is opened only to
pages of this very server, messages are bounded in size and number, and who leaves is let go of at once.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import pathlib
import sys
import threading
import time
import webbrowser
from concurrent.futures import ThreadPoolExecutor

from aiohttp import WSMsgType, web

from experiments.live import messages

PAGES = pathlib.Path(__file__).parent / "pages"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HEARTBEAT = 3.0
"""Seconds between two questions whether a page is still there; half of it is waited for an answer."""
MOST_SOCKETS = 6
ENDING = 3.0
"""Seconds that who stops the server waits for what it is still at."""
THREAD_NAMES = "live"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

THREADS = web.AppKey("threads", ThreadPoolExecutor)
SOCKETS = web.AppKey("sockets", set)
HOSTS = web.AppKey("hosts", set)


def application(pages, socket=None, status=None, answers=None):
    """An aiohttp application of ``pages`` and one ``socket``.

    Args:
      pages: path of a request -> name of a file in ``PAGES``.
      socket: ``async f(ws, app, query)``, what is said on ``/socket``; None where there is none.
      status: ``f() -> dict``, more of what ``/status`` tells.
      answers: path -> ``f(query: mapping) -> JSON or bytes``, done in a thread; ValueError is a 400, None a 404.
    """
    app = web.Application(middlewares=[_guard], client_max_size=1024)
    app[THREADS], app[SOCKETS], app[HOSTS] = ThreadPoolExecutor(8, THREAD_NAMES), set(), set()  # no hosts: any
    for path, name in pages.items():
        app.router.add_get(path, _page((PAGES / name).read_bytes(), TYPES[pathlib.Path(name).suffix]))

    async def tell(request):
        return web.json_response({"sockets": len(app[SOCKETS]), **(status() if status else {})})

    app.router.add_get("/status", tell)
    for path, answer in (answers or {}).items():
        app.router.add_get(path, _answer(answer))
    if socket is not None:
        app.router.add_get("/socket", _socket(socket))
    app.on_shutdown.append(_hang_up)
    app.on_cleanup.append(_stop)
    return app


@web.middleware
async def _guard(request, handler):
    """Only who names this server gets an answer: other names may have been made to point here (DNS rebinding)."""
    hosts = request.app[HOSTS]
    if hosts and request.host not in hosts:
        raise web.HTTPForbidden(text="this server answers to its own address only\n")
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.headers.update(HEADERS)
        raise
    if not response.prepared:
        response.headers.update(HEADERS)
    return response


def _page(content, kind):
    async def page(request):
        return web.Response(body=content, content_type=kind, charset="utf-8")

    return page


def _answer(function):
    async def answer(request):
        loop = asyncio.get_running_loop()
        try:
            said = await loop.run_in_executor(request.app[THREADS], function, request.query)
        except ValueError as error:
            raise web.HTTPBadRequest(text=f"{str(error).splitlines()[0]}\n") from None
        if said is None:
            raise web.HTTPNotFound(text="it is not there, or no longer\n")
        if isinstance(said, bytes):
            return web.Response(body=said, content_type="application/octet-stream")
        return web.json_response(said)

    return answer


def _socket(handle):
    async def socket(request):
        app = request.app
        if request.headers.get("Origin") not in {f"http://{request.host}", f"https://{request.host}"}:
            raise web.HTTPForbidden(text="a page of another origin may not open this socket\n")
        if len(app[SOCKETS]) >= MOST_SOCKETS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_SOCKETS} pages are open already: close one\n")
        ws = web.WebSocketResponse(max_msg_size=8192, heartbeat=HEARTBEAT, compress=False, timeout=2.0)
        app[SOCKETS].add(ws)
        try:
            await ws.prepare(request)
            await handle(ws, app, request.query)
        except (ConnectionError, TimeoutError):
            pass  # the page is gone
        except Exception as error:  # noqa: BLE001 - such as an environment that broke: this page's end, not the server's
            print(f"a page's session ended: {type(error).__name__}: {error}".splitlines()[0], file=sys.stderr)
        finally:
            app[SOCKETS].discard(ws)
            with contextlib.suppress(Exception):  # gone already
                await ws.close()
        return ws

    return socket


async def texts(ws):
    """The text messages of a page, until it leaves; other kinds end it."""
    async for message in ws:
        if message.type is not WSMsgType.TEXT:
            return
        yield message.data


async def heard(ws, read):
    """``read(text)`` of what a page says, until it leaves or says too much; what is malformed is answered in a line."""
    rate = messages.Rate()
    async for text in texts(ws):
        if not rate.allows(time.monotonic()):
            await ws.close(code=1008, message=b"too many messages")
            return
        try:
            said = read(text)
        except messages.BadMessage as error:
            await send_json(ws, type="bad", says=str(error))
        else:
            yield said


async def send_json(ws, **said):
    """Send one JSON message."""
    await ws.send_str(json.dumps(said))


async def _hang_up(app):
    for ws in set(app[SOCKETS]):
        with contextlib.suppress(Exception):
            await ws.close(code=1001, message=b"the server ends")


async def _stop(app):
    app[THREADS].shutdown(wait=False, cancel_futures=True)


def loopback(host):
    """Whether ``host`` is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def serve(app, host, port, path="/", opens=True, says=print):
    """Serve until interrupted; prints the address, and opens it where there is a browser. Returns the exit code."""
    try:
        return _end(asyncio.run(serving(app, host, port, path, opens, says)))
    except KeyboardInterrupt:
        return _end(0)
    except OSError as error:
        from experiments.run.command_line import fail

        fail(f"--host={host} --port={port}: {error.strerror or error}")


def _end(code, seconds=ENDING):
    """``code``, once the server's threads are done; a program that one is still compiling is not waited for."""
    until = time.monotonic() + seconds
    for thread in [one for one in threading.enumerate() if one.name.startswith(THREAD_NAMES)]:
        thread.join(max(0.0, until - time.monotonic()))
        if thread.is_alive():
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return code


async def serving(app, host, port, path="/", opens=False, says=print, ended=None):
    """Serve until ``ended`` (``asyncio.Event``) is set, or for ever; ``says(url)`` once it listens. Returns 0."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=2.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        port = runner.addresses[0][1]
        if loopback(host):
            app[HOSTS].update(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]", host))
        else:
            print(f"warning: --host={host} lets everybody who reaches this machine play here", file=sys.stderr)
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{port}{path}"
        says(url)
        if opens:
            await asyncio.get_running_loop().run_in_executor(app[THREADS], _open, url)
        await (ended or asyncio.Event()).wait()
    finally:
        await runner.cleanup()
    return 0


def _open(url):
    with contextlib.suppress(webbrowser.Error):
        webbrowser.open(url)
