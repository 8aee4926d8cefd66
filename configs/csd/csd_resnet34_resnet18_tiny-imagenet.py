# ResNet-34 > ResNet-18 on Tiny-ImageNet, the paper's schedule.
_base_ = [
    '../_base_/csd_tiny-imagenet.py',
    '../_base_/pairs/resnet34_resnet18.py',
]

model = dict(
    architecture=_base_.student,
    # The teacher is trained by configs/teachers/resnet34_tiny-imagenet.py.
    teachers=dict(
        teacher=dict(
            build_cfg=_base_.teacher,
            ckpt_path='work_dirs/resnet34_tiny-imagenet/epoch_200.pth',
        )
    ),
)
