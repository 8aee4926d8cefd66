# Copyright (c) csd_mmrazor developers. All rights reserved.
from .synthesis_hook import SynthesisHook

__all__ = ['SynthesisHook']
