# MMRazor's ZSKT (Micaelli and Storkey, NeurIPS 2019) on the digits: its
# CIFAR-10 config with the networks of the quickstart, 1,000 generator steps
# and no real training images. The schedule is shortened in proportion.
_base_ = '../_base_/mmrazor_digits.py'

# ---- Frequently modified -------------------------------------------------
batch_size = 16

model = dict(
    generator=dict(generator=dict(type='ZSKTGenerator')),
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
        # The second ReLU of a block, record 1, returns its output.
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
    # Student steps per generator step.
    student_iter=10,
)

optim_wrapper = dict(generator=dict(optimizer=dict(type='Adam', lr=1e-3)))
train_dataloader = dict(batch_size=batch_size)
