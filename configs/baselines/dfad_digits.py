# MMRazor's DFAD (Fang et al., 2019) on the digits: its CIFAR-10 config with
# the networks of the quickstart, 1,000 generator steps and no real training
# images. The schedule is shortened in proportion.
_base_ = '../_base_/mmrazor_digits.py'

# ---- Frequently modified -------------------------------------------------
batch_size = 32

model = dict(
    generator=dict(generator=dict(type='DAFLGenerator', bn_eps=1e-5)),
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
    # Student steps per generator step.
    student_iter=5,
    student_train_first=True,
)

optim_wrapper = dict(generator=dict(optimizer=dict(type='AdamW', lr=1e-3)))
train_dataloader = dict(batch_size=batch_size)
