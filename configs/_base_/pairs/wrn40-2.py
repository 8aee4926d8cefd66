# WRN-40-2 as the teacher of a smaller WRN. A pair's file adds the student.
teacher = dict(
    backbone=dict(type='mmrazor.WideResNet', depth=40, widen_factor=2),
    head=dict(in_channels=128),
)
# The feature is the output of the last block, before the final BN and ReLU.
distiller = dict(
    student_recorders=dict(feature=dict(source='backbone.layer3')),
    teacher_recorders=dict(feature=dict(source='teacher.backbone.layer3')),
)
