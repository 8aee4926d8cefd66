# Copyright (c) csd_mmrazor developers. All rights reserved.
"""What a network is, for those who get its files: a model card.

The front matter is the ``model-index`` of the Hugging Face Hub.
"""

from .figures import about_agreement, estimate_of, told_of_agreement
from .files import files_of
from .folder import list_networks
from .images_used import real_images, training_bank
from .layout import card_path, check_license
from .model_card import model_card
from .networks import as_it_ran
from .quality import (
    Agreement,
    MeasuredAccuracy,
    Quality,
    accuracy_on,
    agreement_at,
    quality_of,
)
from .quantized_card import DOUBTFUL, quantized_card

__all__ = [
    'DOUBTFUL',
    'MeasuredAccuracy',
    'Agreement',
    'Quality',
    'about_agreement',
    'accuracy_on',
    'agreement_at',
    'as_it_ran',
    'card_path',
    'check_license',
    'estimate_of',
    'files_of',
    'list_networks',
    'model_card',
    'quality_of',
    'quantized_card',
    'real_images',
    'told_of_agreement',
    'training_bank',
]
