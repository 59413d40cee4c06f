"""Look at the built site in a headless browser: ``python -m tools.check_site site``.

Each page is shown in two widths, of a telephone and of a desk. It reports pages that are wider than the window,
lines of code that do not fit on a desk, pictures that do not load, and errors of scripts; the exit code is then 1.
Needs Chromium or Chrome.
"""

import argparse
import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

WIDTHS: Final = (390, 1280)
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE: Final = 600

_WATCH: Final = b"""<script>
window.found = [];
addEventListener("error", e => {
  if (e.target.tagName !== "IMG") found.push(e.target.src ? "does not load: " + e.target.src : "script: " + e.message);
}, true);
addEventListener("unhandledrejection", e => found.push("script: " + e.reason));
console.error = (...all) => found.push("console: " + all.join(" "));
</script>"""

_LOOK: Final = """<!doctype html><script>
const pages = PAGES, widths = WIDTHS, problems = [];
const pause = ms => new Promise(done => setTimeout(done, ms));
async function look(page, width) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:900px;border:0`;
  frame.src = "/" + page;
  const loaded = new Promise(done => frame.onload = done);
  document.body.append(frame);
  await loaded;
  await pause(150);
  const inside = frame.contentDocument, told = text => problems.push(`${page}, ${width} pixels: ${text}`);
  for (const image of inside.images) {
    image.loading = "eager";
    if (!image.complete) await new Promise(done => { image.onload = image.onerror = done; });
    if (!image.naturalWidth) told("does not load: " + image.src);
  }
  const wide = inside.documentElement.scrollWidth - inside.documentElement.clientWidth;
  if (wide > 0) {
    const edge = inside.documentElement.clientWidth;
    const guilty = [...inside.querySelectorAll("article *")].find(e => e.getBoundingClientRect().right > edge + 1);
    told(`${wide} pixels too wide` + (guilty ? `: <${guilty.tagName}> ${guilty.textContent.trim().slice(0, 60)}` : ""));
  }
  if (width > 1000) {
    const cut = [...inside.querySelectorAll("article pre > code")].filter(e => e.scrollWidth > e.clientWidth + 1);
    cut.forEach(e => told(`code is cut, ${e.scrollWidth - e.clientWidth} pixels: ${e.textContent.slice(0, 60)}`));
  }
  frame.contentWindow.found.forEach(told);
  frame.remove();
}
onload = async () => {
  for (const width of widths) for (const page of pages) await look(page, width);
  await fetch("/found", { method: "POST", body: JSON.stringify(problems) });
};
</script><body></body>"""


def looked_at(site: Path, browser: str) -> list[str]:
    """Return what a browser finds wrong with the pages of a site."""
    pages = sorted(str(path.relative_to(site)) for path in site.rglob("*.html") if path.name != "404.html")
    found: queue.Queue[list[str]] = queue.Queue()

    class Handler(SimpleHTTPRequestHandler):
        """Gives the site, with a script in each page that notes errors."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(site))

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].lstrip("/")
            if path == "look":
                self._give(_LOOK.replace("PAGES", json.dumps(pages)).replace("WIDTHS", json.dumps(WIDTHS)).encode())
            elif path in pages:
                self._give((site / path).read_bytes().replace(b"<head>", b"<head>" + _WATCH, 1))
            else:
                super().do_GET()

        def do_POST(self) -> None:
            found.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self._give(b"")

        def _give(self, page: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_args: Any) -> None:
            """Say nothing of each request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server, tempfile.TemporaryDirectory() as profile:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/look"
        options = (
            "--headless",
            "--disable-gpu",
            "--no-sandbox",
            f"--user-data-dir={profile}",
        )
        with subprocess.Popen(
            [browser, *options, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as running:
            try:
                return found.get(timeout=PATIENCE)
            finally:
                running.terminate()
                running.wait(30)
                server.shutdown()


def main() -> int:
    """Look at the pages; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("site", type=Path, help="the folder that `make docs` built")
    parser.add_argument("--browser", default=next(filter(None, map(shutil.which, BROWSERS)), None))
    arguments = parser.parse_args()
    if arguments.browser is None:
        sys.exit(f"no browser was found (one of {', '.join(BROWSERS)}); install one, or name it with --browser")
    if not (arguments.site / "index.html").exists():
        sys.exit(f"{arguments.site} has no index.html; build the site with `make docs`")
    problems = looked_at(arguments.site.resolve(), arguments.browser)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"{len(problems)} problems in widths of {' and '.join(map(str, WIDTHS))} pixels")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
