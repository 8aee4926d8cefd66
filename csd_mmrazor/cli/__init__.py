# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What the scripts in ``tools/`` do; each has a module of its name here."""
