# Copyright (c) csd_mmrazor developers. All rights reserved.
import json

from csd_mmrazor.utils.agreement import Agreement


def compare_with_teacher(work_dir, **changed):
    """Log what a run without validation does; returns its agreement."""
    logged = {
        'agreement/chosen_epoch': 2,
        'agreement/chosen_mean': 1,
        'agreement/held_out_recognised': 90.0,
        'agreement/held_out_images': 30,
        'agreement_mean/held_out_top1': 70.0,
        'agreement_mean/held_out_confident': 80.0,
        'agreement_mean/held_out_confident_images': 20,
    }
    logged.update({k.replace('__', '/'): v for k, v in changed.items()})
    path = max(work_dir.glob('*/vis_data/scalars.json'))
    with open(path, 'a') as file:
        file.write(f'{json.dumps(dict(logged, step=2))}\n')
    return Agreement(70, 90, 80, 'held_out', 30, 20)
