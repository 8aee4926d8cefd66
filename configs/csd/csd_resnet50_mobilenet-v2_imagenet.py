# ResNet-50 > MobileNetV2 on ImageNet.
_base_ = '../_base_/csd_imagenet.py'

model = dict(
    # The student, trained from scratch.
    architecture=dict(
        cfg_path='mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py',
        pretrained=False,
    ),
)
