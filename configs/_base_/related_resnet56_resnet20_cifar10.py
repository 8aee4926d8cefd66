# Networks for configs of related methods: ResNet-56 > ResNet-20 on CIFAR-10 in
# place of WRN-40-2 > WRN-16-1. The facts about them are explained in
# configs/csd/csd_resnet56_resnet20_cifar10.py.
inputs = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])
pair = dict(
    architecture=dict(
        backbone=dict(_delete_=True, type='mmrazor.CIFARResNet', depth=20),
        head=dict(in_channels=64),
    ),
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                backbone=dict(
                    _delete_=True, type='mmrazor.CIFARResNet', depth=56
                ),
                head=dict(in_channels=64),
            ),
            ckpt_path='https://github.com/akamaster/pytorch_resnet_cifar10/'
            'raw/master/pretrained_models/resnet56-4bfd9763.th',
            revise_keys=[
                (r'^module\.linear\.', 'head.fc.'),
                (r'^module\.', 'backbone.'),
            ],
        )
    ),
    data_preprocessor=inputs,
)
