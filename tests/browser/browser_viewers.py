"""Every viewer in a real JupyterLab and a real chromium: what must change when one moves a control does change.

    make test-browser

Screenshots are left in build/browser/. Skips where there is neither chromium nor Chrome.
"""

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import nbformat
import pytest
from skimage.measure import find_contours

import lvlab
from lvlab import phantom
from lvlab.store.files import PROJECT
from lvlab.teach import drawer

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]
SCREENSHOTS = PROJECT / "build" / "browser"
PATIENCE_S = 90

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="neither chromium nor google-chrome is installed")

SET_UP = """\
import numpy as np
import lvlab
slices = lvlab.load("phantom").training
prediction = np.roll(slices.masks, 3, axis=1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lab")
    phantom.write(path / "phantom", patients=2, seed=1, quiet=True)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return path


@pytest.fixture(scope="module")
def slices(folder):
    return lvlab.load(folder / "phantom").training


@pytest.fixture(scope="module")
def lab(folder):
    """Start JupyterLab on this machine only; return a function from a notebook's name to its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token, address = secrets.token_hex(16), f"http://127.0.0.1:{port}"
    places = {f"JUPYTER{name}": str(folder / f".{name}") for name in
              ("_CONFIG_DIR", "_RUNTIME_DIR", "LAB_SETTINGS_DIR", "LAB_WORKSPACES_DIR")}
    asks_nothing = folder / ".LAB_SETTINGS_DIR" / "@jupyterlab" / "apputils-extension"
    asks_nothing.mkdir(parents=True)
    (asks_nothing / "notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
               f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
               f"--ServerApp.root_dir={folder}",
               f"--LabApp.extra_labextensions_path={PROJECT / 'lvlab/teach/labextensions'}"]
    with open(SCREENSHOTS / "jupyterlab.log", "wb") as log:
        server = subprocess.Popen(command, env={**os.environ, **places}, cwd=folder, stdout=log, stderr=log)
    try:
        _wait_for(lambda: _answers(f"{address}/api?token={token}"), "JupyterLab to start")
        yield lambda name: f"{address}/doc/tree/{name}.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is missing; run: make test-browser")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def notebook(folder, lab, browser):
    """Return a context that opens a one-cell notebook, runs it and leaves a screenshot."""

    @contextmanager
    def open_and_run(name, source):
        cells = [nbformat.v4.new_markdown_cell("# Before"), nbformat.v4.new_code_cell(SET_UP + source),
                 nbformat.v4.new_markdown_cell("# After")]
        kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), folder / f"{name}.ipynb")
        page = browser.new_page(viewport={"width": 1280, "height": 720})
        page.set_default_timeout(PATIENCE_S * 1000)
        try:
            page.goto(lab(name))
            page.locator(".jp-CodeCell .cm-content").first.click()
            page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
            prompt = page.locator(".jp-CodeCell .jp-InputArea-prompt").first
            while prompt.inner_text() == "[ ]:":  # the shortcut is lost while JupyterLab is still setting up
                page.keyboard.press("Control+Enter")
                page.wait_for_timeout(1000)
            yield page
            page.locator('.jp-Notebook-ExecutionIndicator[data-status="idle"]').wait_for()
            page.wait_for_timeout(500)  # for the screenshot only: the last picture arrives
        finally:
            page.screenshot(path=SCREENSHOTS / f"{name}.png")
            page.close()

    return open_and_run


def _answers(address):
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


def _wait_for(condition, what):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE_S} s in vain for {what}"
        time.sleep(0.1)


def picture_of(page):
    picture = page.locator("img.widget-image").first
    picture.wait_for()
    _wait_for(lambda: picture.evaluate("image => image.naturalWidth") > 50, "the first picture")
    return picture


def changes(picture, act, what):
    """Act, and wait until the pixels on the screen are others."""
    before = picture.screenshot()
    act()
    _wait_for(lambda: picture.screenshot() != before, f"new pixels after: {what}")


def slider(page, label):
    return page.locator(".widget-slider", has=page.get_by_text(label, exact=True)).locator(".noUi-handle")


def press(control, key, times=1):
    control.focus()
    for _ in range(times):
        control.press(key)


def active_cell(page):
    return page.locator(".jp-Notebook-cell").evaluate_all(
        "cells => cells.findIndex(cell => cell.classList.contains('jp-mod-active'))")


def within_reach(page, name):
    """Assert that a viewer is seen whole, says what it is, and that no control or picture of it is nameless."""
    viewer = page.locator(".lvlab-viewer[role=group]")
    viewer.wait_for()
    assert viewer.get_attribute("aria-label") == name
    seen, box = page.locator(".jp-NotebookPanel .jp-WindowedPanel-outer").bounding_box(), viewer.bounding_box()
    inside = viewer.evaluate("""box => [...box.querySelectorAll("*")].map(part => part.getBoundingClientRect())
        .filter(part => part.width && part.height).reduce((all, part) => [Math.max(all[0], part.right),
        Math.max(all[1], part.bottom)], [0, 0])""")
    assert inside[0] <= seen["x"] + seen["width"], f"{name}: wider than what is seen"
    assert inside[1] - box["y"] <= seen["height"], f"{name}: higher than what is seen at 1280 × 720"
    for handle in viewer.locator(".noUi-handle").all():
        assert handle.get_attribute("aria-label")
    for picture in viewer.locator("img.widget-image:visible").all():
        assert len(picture.get_attribute("alt")) > 20


def test_keys_pressed_in_a_viewer_move_it_and_not_the_notebook(notebook):
    with notebook("keyboard", "lvlab.viewers.slice_browser(slices, prediction)") as page:
        picture = picture_of(page)
        within_reach(page, "Slice browser")
        patient = page.get_by_label("Patient")
        patient.focus()
        cell, cells = active_cell(page), page.locator(".jp-Notebook-cell").count()
        assert cell == 1
        for key in ("ArrowDown", "ArrowUp", "d", "d"):
            patient.press(key)
        for label in ("Level", "Opacity"):
            changes(picture, lambda label=label: press(slider(page, label), "ArrowUp", 2), f"{label} ArrowUp")
        changes(picture, lambda: press(page.get_by_role("button", name="both", exact=True), "Space"), "Space on both")
        assert page.get_by_role("button", name="both", exact=True).get_attribute("aria-pressed") == "true"
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate("!document.activeElement.closest('.lvlab-viewer')"):
                break
        assert page.evaluate("!document.activeElement.closest('.lvlab-viewer')"), "Tab does not lead out of the viewer"
        patient.focus()
        patient.press("Escape")
        assert page.evaluate("document.activeElement.classList.contains('jp-Cell')")
        assert active_cell(page) == cell and page.locator(".jp-Notebook-cell").count() == cells


def test_a_figure_says_its_alt_text(notebook):
    code = "%matplotlib inline\nlvlab.teach.describe.describe_figures(get_ipython())\nlvlab.views.class_balance(slices)"
    with notebook("figure", code) as page:
        picture = page.locator(".jp-RenderedImage img")
        picture.wait_for()
        assert picture.get_attribute("alt").startswith("Bars: Cavity (% of pixels) against Slices, sorted")


def test_cine_player_moves_by_keyboard(notebook):
    code = "heart = lvlab.phantom.course_patient(1, seed=0)\n"
    code += "cine = lvlab.phantom.stack(*heart, shares=np.arange(4) / 4, distance_mm=40)\n"
    with notebook("cine_player", code + "lvlab.viewers.cine_player(cine)") as page:
        picture = picture_of(page)
        within_reach(page, "Cine player")
        changes(picture, lambda: press(slider(page, "Frame"), "ArrowRight"), "Frame ArrowRight")
        changes(picture, lambda: press(page.get_by_role("button", name="Play").first, "Enter"), "Enter on Play")


def test_slice_browser_follows_the_keyboard_and_the_mouse(notebook):
    with notebook("slice_browser", "lvlab.viewers.slice_browser(slices, prediction)") as page:
        picture = picture_of(page)
        for label, key in (("Level", "ArrowRight"), ("Opacity", "ArrowRight"), ("Window", "ArrowLeft"),
                           ("Centre", "ArrowLeft")):
            changes(picture, lambda label=label, key=key: press(slider(page, label), key, 2), f"{label} {key}")
        for name in ("both", "difference"):
            changes(picture, page.get_by_role("button", name=name, exact=True).click, name)
        changes(picture, lambda: press(page.get_by_role("button", name="ES", exact=True), "Enter"), "Enter on ES")


def test_threshold_explorer_moves_mask_marker_and_metrics(notebook):
    code = "probability = np.clip(0.7 * prediction + 0.3 * slices.images * slices.images.mean(0), 0, 1)\n"
    with notebook("threshold_explorer", code + "lvlab.viewers.threshold_explorer(slices, probability)") as page:
        picture = picture_of(page)
        within_reach(page, "Threshold explorer")
        changes(picture, lambda: press(slider(page, "Threshold"), "ArrowRight", 15), "Threshold ArrowRight")
        _wait_for(lambda: page.locator(".widget-readout").inner_text() == "0.65", "the readout 0.65")
        changes(picture, lambda: page.get_by_label("Slice").select_option(index=3), "another slice")


def test_feature_map_explorer_walks_along_the_u(notebook):
    code = "lvlab.viewers.feature_map_explorer(lvlab.shipped_run(), slices)"
    with notebook("feature_map_explorer", code) as page:
        picture = picture_of(page)
        within_reach(page, "Feature map explorer")
        for layer in ("down1b", "pool1", "down2a", "down2b"):
            changes(picture, lambda: press(slider(page, "Layer"), "ArrowRight"), layer)
            assert page.locator(".widget-readout").inner_text() == layer


def test_training_monitor_grows_while_it_trains(notebook):
    code = """\
from dataclasses import replace
recipe = replace(lvlab.LAB, filters=(8, 16, 32, 64), epochs=10)
monitor = lvlab.viewers.TrainingMonitor(slices)
run = lvlab.train(slices, slices, recipe, "run", callbacks=[monitor], quiet=True)
print("finished")
"""
    with notebook("training_monitor", code) as page:
        picture, seen = picture_of(page), []
        within_reach(page, "Training monitor")

        def finished():
            seen.append(picture.screenshot())
            return page.locator(".jp-OutputArea-output", has_text=re.compile("^finished")).count()

        _wait_for(finished, "the end of the training")
        assert len(set(seen)) >= 3, "the picture did not grow while it trained"


def test_contour_drawn_with_the_mouse_is_scored(notebook, slices):
    with notebook("contour_drawer", "lvlab.viewers.contour_drawer(slices, prediction)") as page:
        canvas = page.locator(".jupyter-matplotlib-canvas-div").first
        canvas.wait_for()
        draw_round(page, canvas, slices.masks[0])
        within_reach(page, "Contour drawer")
        first = text_like(page, r"Dice (0\.\d+|1\.0+) with the expert; (0\.\d+) with the network")
        assert float(first[1]) > 0.85 and abs(float(first[2]) - float(first[1])) > 0.01
        page.screenshot(path=SCREENSHOTS / "contour_drawer_first.png")
        press(page.get_by_role("button", name="Draw again"), "Enter")
        _wait_for(lambda: not page.locator("img.widget-image").is_visible(), "the comparison to go")
        draw_round(page, canvas, slices.masks[0], shift=2)
        pattern = r"Dice (0\.\d+) with the expert.* your drawings with each other: (0\.\d+) over 2 drawings"
        second = text_like(page, pattern)
        assert float(second[1]) < float(first[1])
        _wait_for(lambda: page.locator(".jp-OutputArea tbody tr").count() == 2, "the second row of the table")
        page.screenshot(path=SCREENSHOTS / "contour_drawer_second.png")
        changes(canvas, lambda: press(page.get_by_role("button", name="Next"), "Enter"), "the next slice")
        changes(canvas, page.get_by_role("button", name="Zoom").click, "Zoom")
        draw_round(page, canvas, slices.masks[1], view=drawer.zoomed(slices.masks[1, ..., 0]))
        third = text_like(page, r"Dice (0\.\d+|1\.0+) with the expert; 0\.\d+ with the network.*draw it again")
        assert float(third[1]) > 0.9
        page.screenshot(path=SCREENSHOTS / "contour_drawer_zoomed.png")
        assert page.get_by_label("Slice").evaluate("choice => choice.selectedIndex") == 1
        press(slider(page, "Width"), "ArrowRight", 3)
        press(page.get_by_role("button", name="Take ellipse"), "Enter")
        _wait_for(lambda: page.locator(".jp-OutputArea tbody tr").count() == 4, "the ellipse's row of the table")
        page.screenshot(path=SCREENSHOTS / "contour_drawer_ellipse.png")


def draw_round(page, canvas, mask, shift=0, view=None):
    """Go round a mask with the mouse, `shift` pixels off; view: (left, top, side) of what the canvas shows."""
    canvas.scroll_into_view_if_needed()
    box, (first_column, first_row, size) = canvas.bounding_box(), view or (0, 0, mask.shape[0])
    side = 0.92 * box["height"]
    left, top = box["x"] + (box["width"] - side) / 2, box["y"] + 0.08 * box["height"]
    places = [(left + (x - first_column + shift + 0.5) / size * side, top + (y - first_row + 0.5) / size * side)
              for y, x in find_contours(mask[..., 0], 0.5)[0][::3]]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in [*places[1:], places[0]]:
        page.mouse.move(*place, steps=2)
    page.mouse.up()


def text_like(page, pattern):
    """Wait for a text in the viewer that matches, and return the match."""
    texts = page.locator(".widget-html-content")
    _wait_for(lambda: re.search(pattern, " ".join(texts.all_inner_texts())), f"a text like {pattern}")
    return re.search(pattern, " ".join(texts.all_inner_texts()))
