# ResNet-34 > ResNet-18 on CIFAR-10, the paper's schedule.
_base_ = '../_base_/csd_cifar10.py'

model = dict(
    # The student, trained from scratch.
    architecture=dict(
        _delete_=True,
        cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py',
        pretrained=False,
    ),
    # The teacher, 95.34 % top-1. Another file of the same network:
    #   --cfg-options model.teachers.teacher.ckpt_path=FILE
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                _delete_=True,
                cfg_path='mmpretrain::resnet/resnet34_8xb16_cifar10.py',
                pretrained=False,
            ),
            ckpt_path='https://download.openmmlab.com/mmclassification/v0/'
            'resnet/resnet34_b16x8_cifar10_20210528-a8aa36a6.pth',
        )
    ),
)
