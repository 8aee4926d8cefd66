# Shows: MMRazor's ATLoss and one of its connectors in CSD's student
# objective. The attention maps of two stages are compared directly. The map of
# the last stage goes through MMRazor's convolution instead of AlignConnector.
_base_ = '../csd/csd_quickstart_digits.py'

model = dict(
    distiller=dict(
        student_recorders=dict(
            stage1=dict(type='ModuleOutputs', source='backbone.layer1'),
            stage2=dict(type='ModuleOutputs', source='backbone.layer2'),
        ),
        teacher_recorders=dict(
            stage1=dict(
                type='ModuleOutputs', source='teacher.backbone.layer1'
            ),
            stage2=dict(
                type='ModuleOutputs', source='teacher.backbone.layer2'
            ),
        ),
        connectors=dict(
            align=dict(
                _delete_=True,
                type='ConvModuleConnector',
                in_channel=32,
                out_channel=128,
                kernel_size=1,
                norm_cfg=dict(type='BN'),
                act_cfg=None,
            )
        ),
        distill_losses=dict(
            loss_at1=dict(type='ATLoss', loss_weight=250.0),
            loss_at2=dict(type='ATLoss', loss_weight=250.0),
        ),
        loss_forward_mappings=dict(
            loss_at1=dict(
                s_feature=dict(from_student=True, recorder='stage1'),
                t_feature=dict(from_student=False, recorder='stage1'),
            ),
            loss_at2=dict(
                s_feature=dict(from_student=True, recorder='stage2'),
                t_feature=dict(from_student=False, recorder='stage2'),
            ),
        ),
    )
)
