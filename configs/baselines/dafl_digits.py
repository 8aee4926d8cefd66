# MMRazor's DAFL (Chen et al., ICCV 2019) on the digits: its config for
# CIFAR-10 with the quickstart's networks, 1,000 generator steps and no
# real training image. Its schedule is shortened in proportion.
_base_ = ['../_base_/digits.py', 'mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# ---- Frequently modified -------------------------------------------------
# Steps of the generator.
max_iters = 1000
# Half of what it is for CIFAR-10.
batch_size = 128

model = dict(
    _scope_='mmrazor',
    type='DAFLDataFreeDistillation',
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
            latent_dim=1000,
            hidden_channels=128,
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
        distill_losses=dict(
            loss_kl=dict(type='KLDivergence', tau=6, loss_weight=1)
        ),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='fc'),
                preds_T=dict(from_student=False, recorder='fc'),
            )
        ),
    ),
    generator_distiller=dict(
        type='ConfigurableDistiller',
        teacher_recorders=dict(
            gap=dict(type='ModuleOutputs', source='teacher.neck.gap'),
            fc=dict(type='ModuleOutputs', source='teacher.head.fc'),
        ),
        distill_losses=dict(
            loss_oh=dict(type='OnehotLikeLoss', loss_weight=0.05),
            loss_ie=dict(type='InformationEntropyLoss', loss_weight=5),
            loss_ac=dict(type='ActivationLoss', loss_weight=0.01),
        ),
        loss_forward_mappings=dict(
            loss_oh=dict(preds_T=dict(from_student=False, recorder='fc')),
            loss_ie=dict(preds_T=dict(from_student=False, recorder='fc')),
            loss_ac=dict(feat_T=dict(from_student=False, recorder='gap')),
        ),
    ),
)

optim_wrapper = dict(
    constructor='mmrazor.SeparateOptimWrapperConstructor',
    architecture=dict(optimizer=dict(type='AdamW', lr=1e-1)),
    generator=dict(optimizer=dict(type='AdamW', lr=1e-3)),
)
# Of 30,000 steps: warm-up 500, milestones at 12,000 and 24,000.
warmup = dict(
    type='LinearLR', end=max_iters // 60, by_epoch=False, start_factor=0.0001
)
param_scheduler = dict(
    architecture=[
        warmup,
        dict(
            type='MultiStepLR',
            begin=max_iters // 60,
            milestones=[max_iters * 2 // 5, max_iters * 4 // 5],
            by_epoch=False,
        ),
    ],
    generator=warmup,
)

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
    find_unused_parameters=False,
)
randomness = dict(seed=0, diff_rank_seed=True)
