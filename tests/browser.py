"""A headless Chromium that tests drive by its DevTools protocol, over a pipe: real keys, and a real kill."""

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needed = pytest.mark.skipif(PROGRAM is None or os.name != "posix", reason="no Chromium is installed")
NAMED = {"Enter": (13, "\r"), "Backspace": (8, None), "Tab": (9, None)}
# it reads messages from file descriptor 3 and writes them to 4; each ends with a zero byte
START = """
import fcntl, os, sys
given, taken = (fcntl.fcntl(int(end), fcntl.F_DUPFD, 10) for end in sys.argv[1:3])
os.dup2(given, 3)
os.dup2(taken, 4)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Gone(AssertionError):
    """The page went away while it was asked."""


class Browser:
    """One page of a browser whose data are in `folder`."""

    def __init__(self, folder, width=1280, height=800):
        given, self._to = os.pipe()
        self._from, taken = os.pipe()
        command = [
            *(sys.executable, "-c", START, str(given), str(taken), PROGRAM),
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-pipe"),
            *(f"--user-data-dir={folder}", f"--window-size={width},{height}", "about:blank"),
        ]
        nowhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, pass_fds=(given, taken), start_new_session=True, **nowhere)
        os.close(given)
        os.close(taken)
        self._rest, self._numbers, self._session = b"", itertools.count(1), None
        page = next(t for t in self("Target.getTargets")["targetInfos"] if t["type"] == "page")
        attached = self("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = attached["sessionId"]
        self("Page.enable")

    def __call__(self, method, **params):
        """The answer to one command of the protocol."""
        message = {"id": next(self._numbers), "method": method, "params": params}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._read()).get("id") != message["id"]:
            if answer.get("method") == "Page.javascriptDialogOpening":
                raise AssertionError(answer)
        if "navigated" in answer.get("error", {}).get("message", ""):
            raise Gone(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _read(self):
        while b"\0" not in self._rest:
            assert select.select([self._from], [], [], 60)[0], "the browser says nothing"
            part = os.read(self._from, 2**20)
            assert part, "the browser has ended"
            self._rest += part
        one, _, self._rest = self._rest.partition(b"\0")
        return json.loads(one)

    def js(self, code):
        """The value of an expression in the page, of a promise what it brings."""
        done = self("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in done, done
        return done["result"].get("value")

    def wait(self, code, seconds=30):
        """Until an expression is true."""
        end, true = time.monotonic() + seconds, False
        while not true:
            with contextlib.suppress(Gone):  # asked of the page before, which has just gone
                true = self.js(code)
            assert true or time.monotonic() < end, f"never true: {code}"
            time.sleep(0.01)

    def open(self, address, ready):
        """Goes to an address, and waits until an expression is true there."""
        self.js("window.left = true")  # the page before, which may answer for a while
        self("Page.navigate", url=address)
        self.wait(f"!window.left && ({ready})")

    def reload(self, ready):
        """The same page again."""
        self.js("window.left = true")
        self("Page.reload")
        self.wait(f"!window.left && ({ready})")

    def press(self, *keys):
        """Keys as a keyboard sends them."""
        for key in keys:
            code, text = NAMED[key] if key in NAMED else (ord(key.upper()), key)
            named = {"key": key, "windowsVirtualKeyCode": code}
            down = {"text": text} if text else {}
            self("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", **named, **down)
            self("Input.dispatchKeyEvent", type="keyUp", **named)

    def tap(self, selector):
        """A finger on the middle of an element."""
        x, y = self.js(
            f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect();"
            f" return [r.x + r.width / 2, r.y + r.height / 2] }})(document.querySelector({selector!r}))"
        )
        self("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        self("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def files(self, folder, pattern, seconds=30):
        """The files that have been downloaded, once there is one whole."""
        end = time.monotonic() + seconds
        while not (found := list(folder.glob(pattern))):
            assert time.monotonic() < end, "nothing was downloaded"
            time.sleep(0.01)
        return found

    def picture(self, path):
        """What is seen, as a PNG file."""
        path.write_bytes(base64.b64decode(self("Page.captureScreenshot")["data"]))

    def kill(self):
        """SIGKILL to all of its processes, as by a crash."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            os.close(self._to)
            os.close(self._from)
