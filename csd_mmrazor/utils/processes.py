# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch.distributed


def leave_together() -> None:
    """Part from the other processes at the end of a job, if there are any.

    MMEngine leaves that to the end of each process. There gloo now and then
    aborts one whose peers are gone (SIGABRT), and a job that is done fails.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
