# Shared by MMRazor's data-free algorithms on the digits: the networks of the
# quickstart, and training without real images.
_base_ = ['./digits.py', 'mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# Generator steps.
max_iters = 1000

model = dict(
    _scope_='mmrazor',
    type='DataFreeDistillation',
    data_preprocessor=dict(
        type='ImgDataPreprocessor',
        mean=_base_.data_preprocessor.mean,
        std=_base_.data_preprocessor.std,
    ),
    architecture=_base_.student_net,
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher_net,
            ckpt_path='work_dirs/resnet_digits/epoch_30.pth',
        )
    ),
    # MMRazor's generators output three channels. The first one is used.
    generator=dict(
        type='GeneratorAdapter',
        channels=1,
        generator=dict(img_size=8, latent_dim=256, hidden_channels=128),
    ),
)

optim_wrapper = dict(
    constructor='mmrazor.SeparateOptimWrapperConstructor',
    architecture=dict(
        optimizer=dict(type='SGD', lr=0.1, weight_decay=5e-4, momentum=0.9)
    ),
)
# MMRazor's milestones are 5,000 and 10,000 of 25,000 steps.
steps = dict(
    type='MultiStepLR',
    milestones=[max_iters // 5, max_iters * 2 // 5],
    by_epoch=False,
)
param_scheduler = dict(architecture=steps, generator=steps)

train_dataloader = dict(
    num_workers=0,
    # Only the size of a batch is used.
    dataset=dict(type='mmrazor.DummyImages', image_shape=(1, 8, 8)),
    sampler=dict(type='InfiniteSampler', shuffle=True),
)
train_cfg = dict(
    by_epoch=False, max_iters=max_iters, val_interval=max_iters // 10
)
val_cfg = dict()
test_cfg = dict()
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    checkpoint=dict(
        type='CheckpointHook',
        by_epoch=False,
        interval=max_iters // 10,
        max_keep_ckpts=1,
    ),
)
# A resumed run draws the noise that it would have drawn without a stop.
custom_hooks = [dict(type='mmrazor.StepSeedHook')]
log_processor = dict(by_epoch=False)
# For distributed runs.
model_wrapper_cfg = dict(
    type='mmengine.MMSeparateDistributedDataParallel',
    broadcast_buffers=False,
    find_unused_parameters=True,
)
randomness = dict(seed=0, diff_rank_seed=True)
