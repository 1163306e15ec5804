"""The course site: `make site` copies the notebooks here and builds; no notebook is executed."""

project = "lvlab"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
html_theme = "furo"
html_show_copyright = False
highlight_language = "text"  # docstrings; notebook cells bring their own
html_title = "lvlab · find the left ventricle"
html_static_path = ["_static"]
html_css_files = ["fold.css"]
nb_execution_mode = "off"
nb_mime_priority_overrides = [("html", "application/vnd.jupyter.widget-view+json", None)]
autodoc_mock_imports = ["tensorflow", "keras"]
autodoc_default_options = {"members": True, "undoc-members": False, "member-order": "bysource"}
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure"]
exclude_patterns = ["_build", "README.md"]


def setup(app):
    """Show docstrings as they are laid out in the source: they are plain text, not reStructuredText."""
    def plain(app, what, name, obj, options, lines):
        lines[:] = ["::", "", *(f"    {line}" for line in lines), ""] if any(lines) else []

    app.connect("autodoc-process-docstring", plain)
