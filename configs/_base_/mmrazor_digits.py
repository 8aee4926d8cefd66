# What MMRazor's data-free algorithms share on the digits: the quickstart's
# networks, and training that opens no real image.
_base_ = ['./digits.py', 'mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# Steps of the generator.
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
    # MMRazor's generators make three channels; the first is taken.
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
# Of 25,000 steps: milestones at 5,000 and 10,000.
steps = dict(
    type='MultiStepLR',
    milestones=[max_iters // 5, max_iters * 2 // 5],
    by_epoch=False,
)
param_scheduler = dict(architecture=steps, generator=steps)

train_dataloader = dict(
    num_workers=0,
    # Of a batch, nothing but its size is used.
    dataset=dict(type='mmrazor.BlankImages', image_shape=(1, 8, 8)),
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
log_processor = dict(by_epoch=False)
# Distributed runs.
model_wrapper_cfg = dict(
    type='mmengine.MMSeparateDistributedDataParallel',
    broadcast_buffers=False,
    find_unused_parameters=True,
)
randomness = dict(seed=0, diff_rank_seed=True)
