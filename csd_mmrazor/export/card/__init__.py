# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a network is, for those who get its files: a model card.

The front matter is the ``model-index`` of the Hugging Face Hub.
"""

from .files import files_of
from .folder import card_meanwhile, kept_of, list_networks
from .images_used import real_images, training_bank
from .layout import card_path, check_license
from .model_card import model_card
from .networks import as_it_ran
from .quality import (
    MeasuredAccuracy,
    Quality,
    accuracy_on,
    quality_of,
)
from .quantized_card import CALIBRATED, DOUBTFUL, quantized_card

__all__ = [
    'CALIBRATED',
    'DOUBTFUL',
    'MeasuredAccuracy',
    'Quality',
    'accuracy_on',
    'as_it_ran',
    'card_meanwhile',
    'card_path',
    'check_license',
    'files_of',
    'kept_of',
    'list_networks',
    'model_card',
    'quality_of',
    'quantized_card',
    'real_images',
    'training_bank',
]
