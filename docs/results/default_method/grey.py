# Grey images as distill() has them: what differs in that config of an older
# study.
_base_ = '../label_free/own.py'

# The rate falls with each step.
param_scheduler = dict(architecture=dict(convert_to_iter_based=True))
# No images are held out where there are some to validate on.
train_dataloader = dict(dataset=dict(held_out=0))
# Accuracy is of the last epoch.
train_cfg = dict(max_epochs=10, val_interval=10)
default_hooks = dict(synthesis=dict(rounds=1))
