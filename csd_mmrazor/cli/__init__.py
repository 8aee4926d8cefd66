# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the scripts in ``tools/`` do; each has a module of its name here."""

import gc

# Of a program that is ours alone: what it has imported stays to its end, where
# Python would look through it once more, as in collections before.
gc.freeze()
