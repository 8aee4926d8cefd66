# A teacher, trained on real images with the usual recipe for small images
# (95 % on CIFAR-10 with a ResNet). teacher_cifar10.py and similar files add
# the data set.
_base_ = 'mmpretrain::_base_/default_runtime.py'
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# ---- Frequently modified -------------------------------------------------
max_epochs = 200
batch_size = 128
lr = 0.1

# No label smoothing, since it makes worse teachers (Mueller et al., NeurIPS
# 2019).
optim_wrapper = dict(
    optimizer=dict(
        type='SGD', lr=lr, momentum=0.9, weight_decay=5e-4, nesterov=True
    )
)
# Decays until the end of training.
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=True)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=5)
val_cfg = dict()
test_cfg = dict()
# For --auto-scale-lr: the total batch size that this learning rate is for.
auto_scale_lr = dict(base_batch_size=128, enable=False)

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
)

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(
        type='CheckpointHook', interval=10, max_keep_ckpts=1, save_best='auto'
    ),
)
# To average weights and BN statistics over the steps. Checkpoints and
# validation then use the average.
# custom_hooks = [
#     dict(type='EMAHook', momentum=0.001, update_buffers=True),
# ]
randomness = dict(seed=0)
