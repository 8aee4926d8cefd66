# Digits of 16x16 pixels as distill() has them. The teacher is a ResNet, the
# student has separable convolutions.
_base_ = './grey.py'

resnet = dict(_base_.teacher_net)
for part, wide in _base_.teacher.items():
    resnet[part] = dict(resnet[part], **wide)
model = dict(
    architecture=dict(
        factory='docs/results/default_method/net.py:Net',
        width=16,
    ),
    teachers=dict(
        teacher=dict(
            build_cfg=dict(_delete_=True, **resnet),
            ckpt_path='docs/results/weights/digits16_teacher.pth',
        )
    ),
    distiller=dict(teacher_recorders=dict(logits=dict(source='teacher.head'))),
)
del part, wide, resnet
