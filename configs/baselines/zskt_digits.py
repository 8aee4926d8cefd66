# MMRazor's ZSKT (Micaelli and Storkey, NeurIPS 2019) on the digits: its
# config for CIFAR-10 with the quickstart's networks, 1,000 generator
# steps and no real training image. Its schedule is shortened in proportion.
_base_ = ['../_base_/digits.py', 'mmpretrain::_base_/default_runtime.py']
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

# ---- Frequently modified -------------------------------------------------
# Steps of the generator.
max_iters = 1000
batch_size = 16

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
            type='ZSKTGenerator',
            img_size=8,
            latent_dim=256,
            hidden_channels=128,
        ),
    ),
    distiller=dict(
        type='ConfigurableDistiller',
        student_recorders=dict(
            stage1=dict(type='ModuleOutputs', source='backbone.layer1.1.relu'),
            stage2=dict(type='ModuleOutputs', source='backbone.layer2.1.relu'),
            stage3=dict(type='ModuleOutputs', source='backbone.layer3.1.relu'),
            fc=dict(type='ModuleOutputs', source='head.fc'),
        ),
        teacher_recorders=dict(
            stage1=dict(
                type='ModuleOutputs', source='teacher.backbone.layer1.1.relu'
            ),
            stage2=dict(
                type='ModuleOutputs', source='teacher.backbone.layer2.1.relu'
            ),
            stage3=dict(
                type='ModuleOutputs', source='teacher.backbone.layer3.1.relu'
            ),
            fc=dict(type='ModuleOutputs', source='teacher.head.fc'),
        ),
        distill_losses=dict(
            loss_s1=dict(type='ATLoss', loss_weight=250.0),
            loss_s2=dict(type='ATLoss', loss_weight=250.0),
            loss_s3=dict(type='ATLoss', loss_weight=250.0),
            loss_kl=dict(
                type='KLDivergence', loss_weight=2.0, reduction='mean'
            ),
        ),
        # A block's second ReLU, record 1, gives its output.
        loss_forward_mappings=dict(
            loss_s1=dict(
                s_feature=dict(
                    from_student=True, recorder='stage1', record_idx=1
                ),
                t_feature=dict(
                    from_student=False, recorder='stage1', record_idx=1
                ),
            ),
            loss_s2=dict(
                s_feature=dict(
                    from_student=True, recorder='stage2', record_idx=1
                ),
                t_feature=dict(
                    from_student=False, recorder='stage2', record_idx=1
                ),
            ),
            loss_s3=dict(
                s_feature=dict(
                    from_student=True, recorder='stage3', record_idx=1
                ),
                t_feature=dict(
                    from_student=False, recorder='stage3', record_idx=1
                ),
            ),
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='fc'),
                preds_T=dict(from_student=False, recorder='fc'),
            ),
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
        distill_losses=dict(
            loss_kl=dict(
                type='KLDivergence',
                loss_weight=-2.0,
                reduction='mean',
                teacher_detach=False,
            )
        ),
        loss_forward_mappings=dict(
            loss_kl=dict(
                preds_S=dict(from_student=True, recorder='fc'),
                preds_T=dict(from_student=False, recorder='fc'),
            )
        ),
    ),
    # Steps of the student for one of the generator.
    student_iter=10,
)

optim_wrapper = dict(
    constructor='mmrazor.SeparateOptimWrapperConstructor',
    architecture=dict(
        optimizer=dict(type='SGD', lr=0.1, weight_decay=0.0005, momentum=0.9)
    ),
    generator=dict(optimizer=dict(type='Adam', lr=1e-3)),
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
