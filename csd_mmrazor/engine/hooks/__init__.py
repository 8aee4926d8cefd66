# Copyright (c) csd_mmrazor developers. All rights reserved.
from .checkpoint_hook import DurableCheckpointHook
from .synthesis_hook import SynthesisHook

__all__ = ['DurableCheckpointHook', 'SynthesisHook']
