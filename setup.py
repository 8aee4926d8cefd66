# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Everything is declared in setup.cfg; this adds configs and tools for mim."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

MIM = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Puts configs and tools where mim and ``get_config`` look for them."""

    def run(self) -> None:
        super().run()
        root = Path(__file__).parent
        editable = getattr(self, 'editable_mode', False)
        base = root if editable else Path(self.build_lib)
        target = base / 'csd_mmrazor' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in MIM:
            source = root / name
            if editable:
                (target / name).symlink_to(source)
            elif source.is_dir():
                shutil.copytree(
                    source,
                    target / name,
                    ignore=shutil.ignore_patterns('__pycache__'),
                )
            elif source.exists():
                shutil.copy(source, target / name)


setup(cmdclass=dict(build_py=BuildWithMim))
