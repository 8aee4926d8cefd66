# MMRazor's DFAD (Fang et al., 2019) on the digits: its config for CIFAR-10
# with the quickstart's networks, 1,000 generator steps and no real training
# image. Its schedule is shortened in proportion.
_base_ = ['../_base_/digits.py', 'mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# ---- Frequently modified -------------------------------------------------
# Steps of the generator.
max_iters = 1000
batch_size = 32

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
    # MMRazor's generator makes three channels; the first is taken.
    generator=dict(
        type='GeneratorAdapter',
        channels=1,
        generator=dict(
            type='DAFLGenerator',
            img_size=8,
            latent_dim=256,
            hidden_channels=128,
            bn_eps=1e-5,
        ),
    ),
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            fc=dict(type='ModuleOutputs', source='head.fc')
        ),
        teacher_recorders=dict(
            fc=dict(type='ModuleOutputs', source='teacher.head.fc')
        ),
        distill_losses=dict(loss_l1=dict(type='L1Loss', loss_weight=1.0)),
        loss_forward_mappings=dict(
            loss_l1=dict(
                s_feature=dict(from_student=True, recorder='fc'),
                t_feature=dict(from_student=False, recorder='fc'),
            )
        ),
    ),
    generator_distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            fc=dict(type='ModuleOutputs', source='head.fc')
        ),
        teacher_recorders=dict(
            fc=dict(type='ModuleOutputs', source='teacher.head.fc')
        ),
        distill_losses=dict(loss_l1=dict(type='L1Loss', loss_weight=-1.0)),
        loss_forward_mappings=dict(
            loss_l1=dict(
                s_feature=dict(from_student=True, recorder='fc'),
                t_feature=dict(from_student=False, recorder='fc'),
            )
        ),
    ),
    # Steps of the student for one of the generator.
    student_iter=5,
    student_train_first=True,
)

optim_wrapper = dict(
    constructor='mmrazor.SeparateOptimWrapperConstructor',
    architecture=dict(
        optimizer=dict(type='SGD', lr=0.1, weight_decay=5e-4, momentum=0.9)
    ),
    generator=dict(optimizer=dict(type='AdamW', lr=1e-3)),
)
# Of 25,000 steps: milestones at 5,000 and 10,000.
steps = dict(
    type='MultiStepLR',
    milestones=[max_iters // 5, max_iters * 2 // 5],
    by_epoch=False,
)
param_scheduler = dict(architecture=steps, generator=steps)

train_dataloader = dict(
    batch_size=batch_size,
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
