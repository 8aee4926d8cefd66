# ResNet-50 > ResNet-18 on ImageNet.
_base_ = '../_base_/csd_imagenet.py'

model = dict(
    # The student, trained from scratch.
    architecture=dict(
        cfg_path='mmpretrain::resnet/resnet18_8xb32_in1k.py',
        pretrained=False,
    ),
    # The teacher, 76.55 % top-1. Another file of the same network:
    #   --cfg-options model.teachers.teacher.ckpt_path=FILE
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py',
                pretrained=False,
            ),
            ckpt_path='https://download.openmmlab.com/mmclassification/v0/'
            'resnet/resnet50_8xb32_in1k_20210831-ea4938fc.pth',
        )
    ),
)
