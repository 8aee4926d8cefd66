# ResNet-50 > ResNet-50 on ImageNet.
_base_ = '../_base_/csd_imagenet.py'

model = dict(
    # The student, trained from scratch.
    architecture=dict(
        cfg_path='mmpretrain::resnet/resnet50_8xb32_in1k.py',
        pretrained=False,
    ),
)
