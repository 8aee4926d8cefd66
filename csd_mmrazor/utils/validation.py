# Copyright (c) csd_mmrazor developers. All rights reserved.
import torch
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner, ValLoop


def check_validation(runner: Runner) -> None:
    """Validate one batch, before hours of work and not after.

    Args:
        runner (Runner): Of a run that is about to be trained. Its random
            state and its model are left as they are.

    Raises:
        ValueError: If model, images and metrics do not fit each other, or
            the best checkpoint is to be told by a metric that there is not.
    """
    loop = runner.val_loop  # reads the images
    if type(loop) is not ValLoop:  # none, or one that validates its own way
        return
    model = runner.model
    was_training = model.training
    try:
        with torch.random.fork_rng(), torch.no_grad():
            model.eval()
            batch = next(iter(loop.dataloader))
            outputs = model.val_step(batch)
            loop.evaluator.process(data_samples=outputs, data_batch=batch)
            metrics = loop.evaluator.evaluate(len(outputs))
    except Exception as error:
        raise ValueError(
            'The first batch of validation failed: check val_dataloader and '
            f'val_evaluator. {type(error).__name__}: {error}'
        ) from error
    finally:
        model.train(was_training)
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook) and hook.save_best:
            for name in hook.key_indicators:
                if name != 'auto' and name not in metrics:
                    raise ValueError(
                        f'save_best={name!r} of the checkpoint hook is none '
                        f'of the metrics, which are {[*metrics]}.'
                    )
