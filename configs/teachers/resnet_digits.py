# Teacher of the quickstart. Only the teacher is trained on real digits.
_base_ = ['../_base_/digits.py', 'mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# ---- Frequently modified -------------------------------------------------
max_epochs = 30
batch_size = 64
lr = 0.1

model = _base_.teacher_net

train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    dataset=dict(
        type='mmrazor.Digits',
        split='train',
        pipeline=[
            # No flips: a flipped digit may be another digit, or none.
            dict(type='RandomCrop', crop_size=8, padding=1),
            dict(type='PackInputs'),
        ],
    ),
    sampler=dict(type='DefaultSampler', shuffle=True),
)

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

default_hooks = dict(
    logger=dict(type='LoggerHook', interval=20),
    checkpoint=dict(
        type='mmrazor.DurableCheckpointHook', interval=5, max_keep_ckpts=1
    ),
)
randomness = dict(seed=0)
