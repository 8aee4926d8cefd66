# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The documentation as a site: python -m sphinx -W docs work_dirs/docs"""

import re
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import csd_mmrazor  # noqa: E402

project = 'csd_mmrazor'
author = copyright = 'csd_mmrazor developers'
version = release = csd_mmrazor.__version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.autosummary',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
]
html_theme = 'furo'
templates_path = ['templates']
exclude_patterns = ['templates']

# '#title' links to a title of any page, as on GitHub.
myst_heading_anchors = 3

autosummary_generate = True
# Each part once, where it is defined, and not where it is exported as well.
autodoc_default_options = {'members': True, 'ignore-module-all': True}
autodoc_typehints = 'none'  # docstrings have the types, with their shapes
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False


def without_links_out(text: str, folder: Path) -> str:
    """Markdown without links to what no site shows: folders, other pages."""

    def replace(found: 're.Match[str]') -> str:
        target = Path(folder, found[2]).resolve()
        is_page = target.suffix == '.md'
        is_out = is_page and ROOT / 'docs' not in target.parents
        return found[1] if target.is_dir() or is_out else found[0]

    return re.sub(r'(?<!!)\[([^]]+)\]\(([^)#:]+)\)', replace, text)


def read_source(app, docname: str, source: list) -> None:
    """Begin with the README; make pages of Markdown what the site takes."""
    if docname == 'index':
        readme = (ROOT / 'README.md').read_text(encoding='utf-8')
        readme = without_links_out(readme, ROOT)
        # What leads out of docs/ leads up, as seen from docs/.
        readme = re.sub(r'\]\((?![a-z]+:|#)', '](../', readme)
        source[0] = readme.replace('](../docs/', '](') + source[0]
    elif not docname.startswith('api/'):
        folder = Path(app.srcdir, docname).parent
        source[0] = without_links_out(source[0], folder)
        if not source[0].startswith('#'):  # a table, which a page shows
            source[0] = '---\norphan: true\n---\n' + source[0]


def setup(app) -> None:
    # Pages of modules that are gone would be left.
    shutil.rmtree(Path(app.srcdir, 'api'), ignore_errors=True)
    app.connect('source-read', read_source)
