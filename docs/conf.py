"""Settings of the documentation site: `make docs` builds it into docs/_build/html."""

import sys
from pathlib import Path

import algoperf_lightning

DOCS = Path(__file__).parent
sys.path.append(str(DOCS / "extensions"))

project = "algoperf-lightning"
author = "The algoperf-lightning authors"
project_copyright = f"2026, {author}"
version = release = algoperf_lightning.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "public_names",
    "repository_files",
]
exclude_patterns = ["_build", "extensions"]
templates_path = ["templates"]

# Pages. Anchors are GitHub's, since the pages are read there, too.
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 6
suppress_warnings = ["myst.header"]

# Notebooks have their outputs (`make gallery`), so the site is built without training.
nb_execution_mode = "off"

# The reference: each name of a package's `__all__` has a page.
autosummary_imported_members = True
autosummary_ignore_module_all = False
# Beside Anytime.rst, where upper and lower case are one.
autosummary_filename_map = {"algoperf_lightning.scoring.anytime": "algoperf_lightning.scoring.anytime_function"}
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 100
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Reference", "notes"), ("Deviation", "notes"), ("Deviations", "notes")]
viewcode_follow_imported_members = True

# Without network, the names in docs/inventories are linked, and nothing is lost of the pages.
intersphinx_timeout = 5
intersphinx_mapping = {
    name: (address, (None, f"inventories/{name}.txt"))
    for name, address in {
        "lightning": "https://lightning.ai/docs/pytorch/stable/",
        "numpy": "https://numpy.org/doc/stable/",
        "python": "https://docs.python.org/3/",
        "torch": "https://docs.pytorch.org/docs/stable/",
    }.items()
}

html_theme = "pydata_sphinx_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "collapse_navigation": True,
    "header_links_before_dropdown": 8,
    "navbar_persistent": ["search-button"],
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
