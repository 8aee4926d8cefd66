# Copyright (c) csd_mmrazor developers. All rights reserved.

REVEALS = (
    'Synthetic images are optimised until the teacher recognises them, so '
    'they can reveal what it learnt of its training data: the look of a '
    'class, colours, and where a class has few images or one person, features '
    'of these. So can the weights of a network trained on them. If the '
    'training data was confidential, treat both as you treat the teacher.'
)


TEACHER_REVEALS = (
    'Its weights can reveal what it learnt of its training data: if that was '
    'confidential, treat this file as you treat the teacher.'
)
