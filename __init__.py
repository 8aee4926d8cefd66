# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The package beside a clone: in the folder that holds the clone, Python
takes the clone's folder for the package, which is one level below."""

import os

if __name__ == 'csd_mmrazor':
    __path__ = [os.path.join(os.path.dirname(__file__), 'csd_mmrazor')]
    __file__ = os.path.join(__path__[0], '__init__.py')
    __spec__.submodule_search_locations[:] = __path__
    with open(__file__, encoding='utf-8') as _file:
        exec(compile(_file.read(), __file__, 'exec'))
