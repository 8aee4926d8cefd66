# Copyright (c) csd_mmrazor developers. All rights reserved.
from .align_connector import AlignConnector
from .inference import infer_connectors

__all__ = ['AlignConnector', 'infer_connectors']
