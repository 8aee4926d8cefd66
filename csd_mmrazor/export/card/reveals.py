# Copyright (c) csd_mmrazor developers. All rights reserved.

REVEALS = (
    'Synthetic images are optimised until the teacher recognises them. They '
    'can therefore reveal what it learnt about its training data: what a '
    'class looks like, its colours, and, if a class has few images or shows '
    'one person, details of these. So can the weights of a network trained on '
    'them. If the training data was confidential, treat both as you treat the '
    'teacher.'
)


TEACHER_REVEALS = (
    'The weights can reveal what the network learnt about its training data. '
    'If that was confidential, treat this file as you treat the teacher.'
)
