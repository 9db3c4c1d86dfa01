"""Look at the page of a report in a browser without a window, and measure what can be measured.

Asserts, at widths of 1280 and 400 pixels, light and dark: nothing in the console, no request, no
overflow to the side, no letters below 12 pixels. Needs chromium::

    python docs/scripts/screenshot_report.py report.html [folder for screenshots]
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

WIDTHS = (1280, 400)
SMALLEST = 12.0
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
# Of what may go wrong on a page.
COMPLAINTS = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")

MEASURE = """(() => {
  const letters = [...document.querySelectorAll('body *')].filter(e =>
    [...e.childNodes].some(c => c.nodeType === 3 && c.textContent.trim()));
  const sizes = letters.map(e => {
    const matrix = e.getScreenCTM ? e.getScreenCTM() : null;
    const scale = matrix ? Math.hypot(matrix.a, matrix.b) : 1;
    return [scale * parseFloat(getComputedStyle(e).fontSize), e.textContent.trim().slice(0, 40)];
  });
  sizes.sort((a, b) => a[0] - b[0]);
  const root = document.documentElement;
  return {width: root.scrollWidth, room: innerWidth, height: root.scrollHeight, least: sizes[0]};
})()"""


class Browser:
    """Chromium, spoken to through two pipes.

    Parameters
    ----------
    program : str
        Its path.
    """

    def __init__(self, program):
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)

        def give_pipes():
            # It reads from the file descriptor 3, and writes to 4; ours may have these numbers.
            os.dup2(to_browser, 13)
            os.dup2(from_browser, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        self._process = subprocess.Popen(
            [
                program,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--remote-debugging-pipe",
                f"--user-data-dir={self._profile.name}",
            ],
            preexec_fn=give_pipes,
            close_fds=False,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self._count, self._rest, self._session = 0, b"", None
        self.events = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Log", "Runtime", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method, **params):
        """A command, and its answer; events on the way are kept."""
        self._count += 1
        message = {"id": self._count, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._count:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method):
        """Until an event has come."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def _next(self):
        while b"\0" not in self._rest:
            self._rest += os.read(self._read, 1 << 16)
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def close(self):
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._profile.cleanup()


def look(browser, page, width, scheme, screenshot):
    """Open the page, measure it, and save how it looks."""
    browser.events.clear()
    browser.send(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.send("Emulation.setEmulatedMedia", features=features)
    browser.send("Page.navigate", url=page.resolve().as_uri())
    browser.wait_for("Page.loadEventFired")
    found = browser.send("Runtime.evaluate", expression=MEASURE, returnByValue=True)["result"]
    clip = {"x": 0, "y": 0, "width": width, "height": found["value"]["height"], "scale": 1}
    image = browser.send("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)
    screenshot.write_bytes(base64.b64decode(image["data"]))
    requests = [
        event["params"]["request"]["url"]
        for event in browser.events
        if event.get("method") == "Network.requestWillBeSent"
    ]
    complaints = [event for event in browser.events if event.get("method") in COMPLAINTS]
    return found["value"], complaints, requests


def main(page, folder="."):
    """Look at all widths, in both schemes of colour."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        raise SystemExit(f"there is no browser, expected one of {', '.join(NAMES)}.")
    page, folder = Path(page), Path(folder)
    if not page.is_file():
        raise SystemExit(f"there is no file {page}, expected a page that report.to_html has made.")
    folder.mkdir(parents=True, exist_ok=True)
    browser = Browser(program)
    try:
        for width in WIDTHS:
            for scheme in ("light", "dark"):
                screenshot = folder / f"{page.stem}-{width}-{scheme}.png"
                found, complaints, requests = look(browser, page, width, scheme, screenshot)
                size, words = found["least"]
                print(
                    f"{width} {scheme}: {found['width']} of {found['room']} pixels wide, "
                    f"{found['height']} high, least letters {size:.1f} ({words!r}): {screenshot}"
                )
                assert not complaints, complaints
                others = [url for url in requests if url.split(":")[0] not in ("file", "data")]
                assert not others, others
                assert found["width"] <= found["room"], found
                assert size >= SMALLEST, found
    finally:
        browser.close()
    print("nothing in the console, no request, no overflow, all letters legible")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
