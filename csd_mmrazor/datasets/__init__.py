# Copyright (c) csd_mmrazor developers. All rights reserved.
from .bank_folder import BankError, BankFolder
from .bank_sampler import BankSampler
from .collate import bank_collate
from .digits import Digits
from .dummy_images import DummyImages
from .folder_images import FolderImages, LentImages
from .image_bank import ImageBank
from .imagenet import ImageNetImages
from .init_pictures import check_init_bank, check_no_work_dir
from .real_images import CIFAR10Images, CIFAR100Images, SVHNImages
from .tiny_imagenet import TinyImageNet

__all__ = [
    'BankError',
    'BankFolder',
    'BankSampler',
    'DummyImages',
    'CIFAR100Images',
    'CIFAR10Images',
    'Digits',
    'FolderImages',
    'ImageBank',
    'ImageNetImages',
    'LentImages',
    'SVHNImages',
    'TinyImageNet',
    'bank_collate',
    'check_init_bank',
    'check_no_work_dir',
]
