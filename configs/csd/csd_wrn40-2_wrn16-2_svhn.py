# WRN-40-2 > WRN-16-2 on SVHN, the paper's schedule.
_base_ = '../_base_/csd_svhn.py'

model = dict(
    # The student, from scratch.
    architecture=dict(
        backbone=dict(type='mmrazor.WideResNet', depth=16, widen_factor=2),
        head=dict(in_channels=128),
    ),
    # The teacher, by configs/teachers/wrn40-2_svhn.py.
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                backbone=dict(
                    type='mmrazor.WideResNet',
                    depth=40,
                    widen_factor=2,
                ),
                head=dict(in_channels=128),
            ),
            ckpt_path='work_dirs/wrn40-2_svhn/epoch_200.pth',
        )
    ),
    # The last block's map, before the final BN and ReLU.
    distiller=dict(
        student_recorders=dict(feature=dict(source='backbone.layer3')),
        teacher_recorders=dict(feature=dict(source='teacher.backbone.layer3')),
    ),
)
