# MMRazor's DAFL (Chen et al., ICCV 2019) on the digits: its CIFAR-10 config
# with the networks of the quickstart, 1,000 generator steps and no real
# training images. The schedule is shortened in proportion.
_base_ = '../_base_/mmrazor_digits.py'

# ---- Frequently modified -------------------------------------------------
# Half the batch size for CIFAR-10.
batch_size = 128

model = dict(
    type='DAFLDataFreeDistillation',
    generator=dict(generator=dict(type='DAFLGenerator', latent_dim=1000)),
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
    architecture=dict(optimizer=dict(_delete_=True, type='AdamW', lr=1e-1)),
    generator=dict(optimizer=dict(type='AdamW', lr=1e-3)),
)
# MMRazor has 30,000 steps: warm-up 500, milestones at 12,000 and 24,000.
warmup = dict(
    type='LinearLR',
    end=_base_.max_iters // 60,
    by_epoch=False,
    start_factor=0.0001,
)
param_scheduler = dict(
    architecture=[
        warmup,
        dict(
            type='MultiStepLR',
            begin=_base_.max_iters // 60,
            milestones=[_base_.max_iters * 2 // 5, _base_.max_iters * 4 // 5],
            by_epoch=False,
        ),
    ],
    generator=dict(_delete_=True, **warmup),
)

train_dataloader = dict(batch_size=batch_size)
model_wrapper_cfg = dict(find_unused_parameters=False)
