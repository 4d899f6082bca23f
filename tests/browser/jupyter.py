"""A JupyterLab server as on a student's machine, and a student's hands: open, run, step, edit, look."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Locator, Page, expect
from playwright.sync_api import TimeoutError as TooLate

from tests import processes

WIDE, NARROW, HIGH = 1280, 480, 900  # pixels of the window
_LOADED = 60_000  # milliseconds for the page and for a kernel's start, on a busy machine
_RAN = 300_000  # for a lesson
_BEGUN = 90_000  # for its first cells

# What a cell's output said when it was first seen there, while the cell still ran: cell -> text.
_WATCH = """notebook => {
  window.shownWhileRunning = {};
  new MutationObserver(() => {
    const cells = [...notebook.querySelectorAll('.jp-Cell')];
    const running = cells.findIndex(cell => cell.querySelector('.jp-InputPrompt')?.textContent.includes('*'));
    const text = cells[running]?.querySelector('.jp-OutputArea')?.textContent;
    if (text && !(running in window.shownWhileRunning)) { window.shownWhileRunning[running] = text; }
  }).observe(notebook, { subtree: true, childList: true, characterData: true });
}"""

# Prompts are empty before a run; a star is a cell that waits or runs; after an error the rest is empty again.
_IS_DONE = """notebook => {
  const prompts = [...notebook.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.textContent).join('');
  const idle = notebook.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status == 'idle';
  return idle && /\\d/.test(prompts) && !prompts.includes('*');
}"""

_HAS_BEGUN = """notebook => [...notebook.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].some(
  e => /\\d/.test(e.textContent)
)"""

_ARE_LOADED = (
    "notebook => [...notebook.querySelectorAll('.jp-OutputArea img')].every(image => image.complete)"
)

_OUTPUTS = """outputs => outputs.map(output => ({
  kind: output.dataset.mimeType,
  text: output.textContent,
  cell: [...output.closest('.jp-Notebook').querySelectorAll('.jp-Cell')].indexOf(output.closest('.jp-Cell')),
}))"""

# Where an image ends, and where the part of the window does that shows the notebook.
_IMAGES = """images => images.map(image => ({
  alt: image.getAttribute('alt'),
  natural: [image.naturalWidth, image.naturalHeight],
  shown: [image.clientWidth, image.clientHeight],
  right: image.getBoundingClientRect().right,
  edge: image.closest('.jp-WindowedPanel-outer').getBoundingClientRect().right,
}))"""

# Where the last cell ends, in pixels from the top of the notebook.
_END = """outer => {
  const last = [...outer.querySelectorAll('.jp-Cell')].at(-1);
  return outer.scrollTop + last.getBoundingClientRect().bottom - outer.getBoundingClientRect().top;
}"""

_IS_WITHIN = "notebook => notebook.getBoundingClientRect().right <= window.innerWidth"
_SCROLL = """(outer, top) => new Promise(done => {
  outer.scrollTop = top;
  requestAnimationFrame(() => requestAnimationFrame(() => done(outer.scrollTop)));
})"""


class Server:
    """A JupyterLab server on loopback with a token, with no settings but those that keep it from asking for news.

    Attributes:
        url: where it listens, with the token.
    """

    def __init__(self, root: Path, home: Path, environment: dict[str, str]):
        settings = home / "settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        quiet = {"fetchNews": "false", "checkForUpdates": False}
        (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
        places = {
            "HOME": home,
            "IPYTHONDIR": home / "ipython",
            "JUPYTER_CONFIG_DIR": home / "config",
            "JUPYTER_DATA_DIR": home / "data",
            "JUPYTER_RUNTIME_DIR": home / "runtime",
            "JUPYTERLAB_SETTINGS_DIR": home / "settings",
            "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
        }
        options = ["ip=127.0.0.1", "port=0", "allow_root=True", f"root_dir={root}"]
        self.log = home / "server.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "jupyterlab",
                    "--no-browser",
                    *(f"--ServerApp.{option}" for option in options),
                ],
                env=environment | {name: str(place) for name, place in places.items()},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        info = json.loads(self._info(home / "runtime" / f"jpserver-{self._process.pid}.json"))
        self.url, self.token = info["url"], info["token"]

    def _info(self, path: Path) -> str:
        def written():
            assert self._process.poll() is None, self.log.read_text()
            return path.exists() and path.read_text()

        try:
            return processes.until(written, 60)
        except BaseException:
            processes.kill_all(self._process)
            raise

    def end(self) -> None:
        """Ends the server, and its kernels even where it does not."""
        family = processes.family(self._process.pid)
        self._process.terminate()
        try:
            self._process.wait(20)
        finally:
            for process in processes.alive(family):
                process.kill()
            self._process.wait()


class Lesson:
    """A notebook that is open in JupyterLab.

    Attributes:
        page: the browser's page.
        path: its file.
        panel: the notebook in the page.
        cells: its cells, and `count` how many the file has.
        sources: number of a code cell -> its source in the file; JupyterLab makes editors only where one looks.
    """

    def __init__(self, page: Page, path: Path):
        self.page, self.path = page, path
        self.panel = page.locator(".jp-NotebookPanel")
        self.cells = self.panel.locator(".jp-Cell")
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        self.count = len(cells)
        self.sources = {
            n: "".join(cell["source"]) for n, cell in enumerate(cells) if cell["cell_type"] == "code"
        }

    @classmethod
    def open(cls, page: Page, server: Server, root: Path, path: str) -> Lesson:
        """Opens a lesson as a student does: with a double click in the file browser."""
        folder, _, name = path.rpartition("/")
        page.set_viewport_size({"width": WIDE, "height": HIGH})
        workspace = path.replace("/", "-").removesuffix(".ipynb")
        page.goto(f"{server.url}lab/workspaces/{workspace}/tree/{folder}?reset&token={server.token}")
        files = page.locator(".jp-DirListing-item")
        files.get_by_text(name, exact=True).dblclick(timeout=_LOADED)
        lesson = cls(page, root / path)
        lesson.panel.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for(timeout=_LOADED)
        expect(lesson.cells).to_have_count(lesson.count, timeout=_LOADED)
        return lesson

    # --- run ---

    def menu(self, *names: str) -> None:
        """Clicks through a menu."""
        menu, *inner, item = names
        self.page.get_by_role("menuitem", name=menu, exact=True).click()
        labels = self.page.locator(".lm-Menu-itemLabel")
        for name in inner:
            labels.get_by_text(name, exact=True).hover()
        labels.get_by_text(item, exact=True).click()

    def unfold(self) -> None:
        """Shows the folded cells of the set-up, whose prompts are not on the page before."""
        self.menu("View", "Expand All Code")

    def run_all(self) -> None:
        """Runs the lesson from the menu, in a new kernel, until nothing runs any more."""
        self.start_all()
        self.wait_for_all()

    def start_all(self) -> None:
        """Starts what `wait_for_all` waits for."""
        self.panel.evaluate(_WATCH)
        for _ in range(3):
            self.menu("Run", "Restart Kernel and Run All Cells…")
            self.page.get_by_role("dialog").get_by_role("button", name="Confirm Kernel Restart").click()
            with contextlib.suppress(TooLate):
                # On a slow machine, Jupyter's server can lose all messages after a restart ("Replacing stale
                # connection", says its log). The first cells take only as long as the imports.
                self.page.wait_for_function(_HAS_BEGUN, arg=self.panel.element_handle(), timeout=_BEGUN)
                return
        raise AssertionError("No cell has run after three restarts of the kernel.")

    def wait_for_all(self) -> None:
        """Waits until nothing runs any more."""
        notebook = self.panel.element_handle()
        self.page.wait_for_function(_IS_DONE, arg=notebook, timeout=_RAN)
        self.page.wait_for_function(_ARE_LOADED, arg=notebook)

    def shown_while_running(self) -> dict[str, str]:
        """Returns what was first shown of a cell's output while the cell still ran: source -> text."""
        shown = self.page.evaluate("window.shownWhileRunning")
        return {self.sources[int(cell)]: text for cell, text in shown.items()}

    def run_cell(self, number: int) -> None:
        """Shift+Enter on the active cell, which has to be this one, until its output is there."""
        expect(self.cells.nth(number)).to_have_class(re.compile("jp-mod-active"))
        before = self.prompt(number) if number in self.sources else ""
        self.page.keyboard.press("Shift+Enter")
        if number in self.sources:
            prompt = self.cells.nth(number).locator(".jp-InputPrompt")
            expect(prompt).not_to_have_text(before, timeout=_LOADED)
            expect(prompt).to_have_text(re.compile(r"\d"), timeout=_RAN)
        expect(self.cells.nth(number + 1)).to_have_class(re.compile("jp-mod-active"))

    def save_and_shut_down(self) -> dict:
        """Saves the notebook and ends its kernel; returns what was saved."""
        before = self.path.stat().st_mtime_ns
        self.page.keyboard.press("Control+s")
        processes.until(lambda: self.path.stat().st_mtime_ns != before, 60)
        self.menu("Kernel", "Shut Down Kernel")
        expect(self.panel.get_by_role("button", name="No Kernel")).to_be_visible()
        return json.loads(self.path.read_text(encoding="utf-8"))

    # --- look ---

    def prompt(self, number: int) -> str:
        return self.cells.nth(number).locator(".jp-InputPrompt").inner_text()

    def number_of(self, words: str) -> int:
        """Returns which code cell has these words in its source."""
        (number,) = [number for number, source in self.sources.items() if words in source]
        return number

    def output(self, number: int) -> Locator:
        return self.cells.nth(number).locator(".jp-OutputArea-output")

    def rows(self, number: int) -> list[list[str]]:
        """Returns the rows of the table below a cell."""
        rows = self.output(number).locator("tbody tr")
        return rows.evaluate_all("rows => rows.map(row => [...row.cells].map(cell => cell.textContent))")

    def outputs(self) -> list[dict]:
        """Returns each output: its kind (a MIME type; errors and stderr have their own), its text, its cell."""
        return self.panel.locator(".jp-OutputArea-output").evaluate_all(_OUTPUTS)

    def images(self) -> list[dict]:
        """Returns each figure: its description, its natural size, the size it is shown in, where it ends."""
        return self.panel.locator(".jp-OutputArea-output img:not(.mnist-quiz img)").evaluate_all(_IMAGES)

    def theme(self, name: str) -> None:
        """Changes JupyterLab's colours to `Light` or `Dark`, from the menu."""
        self.menu("Settings", "Theme", f"JupyterLab {name}")
        light = str(name == "Light").lower()
        self.page.locator(f'body[data-jp-theme-light="{light}"]').wait_for(state="attached")
        self.cells.first.wait_for()  # nothing is shown while it is loaded

    def narrow(self) -> None:
        """Makes the window as narrow as a phone, without the file browser."""
        self.page.keyboard.press("Control+b")
        expect(self.page.locator("#jp-left-stack")).not_to_be_visible()
        self.page.set_viewport_size({"width": NARROW, "height": HIGH})
        self.page.wait_for_function(_IS_WITHIN, arg=self.panel.element_handle())

    def picture(self, path: Path) -> None:
        """Takes a picture of the whole notebook, window by window."""
        outer = self.panel.locator(".jp-WindowedPanel-outer")
        outer.wait_for()
        drawn = self.page.add_style_tag(content=".jp-Cell { content-visibility: visible !important; }")
        box = outer.bounding_box()
        last = int(outer.evaluate(_END))
        whole = Image.new("RGB", (int(box["width"]), last), "white")
        for top in range(0, last, int(box["height"])):
            at = outer.evaluate(_SCROLL, top)
            whole.paste(Image.open(io.BytesIO(self.page.screenshot(clip=box))), (0, int(at)))
        drawn.evaluate("tag => tag.remove()")
        path.parent.mkdir(parents=True, exist_ok=True)
        whole.quantize(128).save(path)


def environment(results_dir: Path) -> dict[str, str]:
    """Returns what a server's processes see: offline, without caches, nothing of whoever runs the tests."""
    shut = ("MNIST_", "PYTEST_", "JUPYTER", "IPYTHON", "XDG_", "KERAS_", "MPL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(shut)}
    return kept | {"MNIST_COURSE_OFFLINE": "1", "MNIST_COURSE_RESULTS": str(results_dir)}
