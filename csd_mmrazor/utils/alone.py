# Copyright (c) csd_mmrazor developers. All rights reserved.
"""Whether this process is one of several that a launcher has started."""

import os

import torch.distributed as dist

# What launchers say the number of processes in.
_NUMBERS = ('WORLD_SIZE', 'OMPI_COMM_WORLD_SIZE', 'PMI_SIZE')


def check_alone(what: str, instead: str = '') -> None:
    """Refuse to do in each of several processes what is for one.

    Args:
        what (str): What is to be done, for the message.
        instead (str): What else to do. Defaults to '', nothing.

    Raises:
        ValueError: If torchrun or MPI has started several, or they have a
            process group.
    """
    for name in _NUMBERS:
        number = os.environ.get(name, '')
        if number.isdecimal() and int(number) > 1:
            raise ValueError(
                f'{what} is for one process, but there are {number} '
                f'({name}={number}): start it without torchrun or mpirun'
                f'{instead}.'
            )
    if dist.is_available() and dist.is_initialized():
        number = dist.get_world_size()
        if number > 1:
            raise ValueError(
                f'{what} is for one process, but this one is of a process '
                f'group of {number} (torch.distributed.init_process_group): '
                f'start it in a process without one{instead}.'
            )
