# Copyright (c) csd_mmrazor developers. All rights reserved.
"""The command line: python -m csd_mmrazor distill --help"""

from .cli.commands import main

if __name__ == '__main__':
    main()
