"""The course site: `make site` copies the notebooks here and builds; no notebook is executed."""

import base64
import hashlib
import json
from pathlib import Path

from docutils import nodes

project = "lvlab"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
html_theme = "furo"
html_show_copyright = False
highlight_language = "text"  # docstrings; notebook cells bring their own
html_title = "lvlab · find the left ventricle"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["fold.css"]
nb_execution_mode = "off"
myst_heading_anchors = 3
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
autodoc_mock_imports = ["tensorflow", "keras"]
autodoc_default_options = {"members": True, "undoc-members": False, "member-order": "bysource"}
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]
exclude_patterns = ["_build", "README.md"]


def alt_texts(app, doctree):
    """Give the notebooks' pictures the alt text of their outputs' metadata; MyST-NB names a picture by its content."""
    path = Path(app.srcdir, *app.env.docname.split("/")).with_suffix(".ipynb")
    outputs = [output for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
               for output in cell.get("outputs", [])] if path.is_file() else []
    alts = {hashlib.sha256(base64.b64decode("".join(output["data"]["image/png"]))).hexdigest():
            output["metadata"].get("image/png", {}).get("alt") for output in outputs
            if "image/png" in output.get("data", {})}
    for image in doctree.findall(nodes.image):
        if alt := alts.get(Path(image["uri"]).stem):
            image["alt"] = alt


def setup(app):
    """Show docstrings as they are laid out in the source: they are plain text, not reStructuredText."""
    def plain(app, what, name, obj, options, lines):
        lines[:] = ["::", "", *(f"    {line}" for line in lines), ""] if any(lines) else []

    app.connect("autodoc-process-docstring", plain)
    app.connect("doctree-read", alt_texts)
