# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What parts of mmpretrain do wrong, or cannot do on today's torch."""

import functools
import inspect
import sys
import types

import torch
from mmengine.device import get_device

from ..utils import load_file, load_pickle


def export_windows_of_any_batch() -> bool:
    """Swin's windows are put together for the number of images while tracing.

    ``window_reverse`` of ``ShiftWindowMSA`` and of MixMIM computes the batch
    by ``int(...)``, a constant in a program of torch.export and in an ONNX
    file, which then compute something else for other batches. Here it is what
    is left of the shape; the numbers are the same.
    """
    from mmpretrain.models.backbones.mixmim import MixMIMBlock
    from mmpretrain.models.utils.attention import ShiftWindowMSA

    found = False
    for cls in (ShiftWindowMSA, MixMIMBlock):
        source = inspect.getsource(cls.window_reverse)
        if 'int(windows.shape[0]' in source:
            cls.window_reverse = staticmethod(_window_reverse)
            found = True
    return found


def _window_reverse(windows, H, W, window_size):
    """Windows, (N * w, S, S, C) or (N * w, S * S, C), as maps (N, H, W, C)."""
    rows, columns = H // window_size, W // window_size
    channels = windows.shape[-1]
    x = windows.view(-1, rows, columns, window_size, window_size, channels)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, channels)


def read_files_as_data() -> None:
    """``torch.load`` runs any code in a file before torch 2.6.

    ``SwAVHook`` reads its queue from the work dir, wherever that is from, a
    retriever its prototypes, and a tokenizer its codebook. ``RAM`` reads its
    lists of tags by ``pickle``.
    """
    from mmpretrain.engine.hooks import swav_hook
    from mmpretrain.models.retrievers import image2image
    from mmpretrain.models.utils import vector_quantizer

    def load(file, map_location=None):
        # A queue has to be where the network is.
        return load_file(file, map_location or get_device())

    # What these modules alone see of torch.
    stand_in = types.ModuleType('torch')
    stand_in.__getattr__ = functools.partial(getattr, torch)
    stand_in.load = load
    for module in (swav_hook, image2image, vector_quantizer):
        module.torch = stand_in
    # Those are there with the packages of mmpretrain[multimodal].
    ram = 'mmpretrain.models.multimodal.ram'
    if f'{ram}.ram' in sys.modules:
        sys.modules[f'{ram}.openset_utils'].torch = stand_in
        sys.modules[f'{ram}.ram'].pickle = types.SimpleNamespace(
            load=lambda file: load_pickle(file, file.name)
        )


def read_dtypes_as_names() -> None:
    """Transforms evaluate ``dtype``, a text out of a config.

    All of torchvision's do, as ``torchvision/ConvertImageDtype``. It is the
    name of a type of torch, and is looked up as such.
    """
    from mmpretrain.datasets.transforms import processing

    def read(name):
        found = getattr(torch, name, None)
        if not isinstance(found, torch.dtype):
            raise ValueError(
                f'dtype={name[:100]!r} of a transform is no type of torch, '
                'such as "float32": it is not run.'
            )
        return found

    processing._str_to_torch_dtype = read
