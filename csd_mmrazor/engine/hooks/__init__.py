# Copyright (c) csd_mmrazor developers. All rights reserved.
from .checkpoint_hook import DurableCheckpointHook
from .divergence_hook import DivergenceHook
from .synthesis_hook import SynthesisHook

__all__ = ['DivergenceHook', 'DurableCheckpointHook', 'SynthesisHook']
