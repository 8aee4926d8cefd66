# Two ResNets of three stages that soon halve their maps, for CIFAR-10 on a
# CPU. The teacher starts with 32 channels, the student with 16.
backbone = dict(
    type='ResNet_CIFAR',
    depth=18,
    num_stages=3,
    strides=(2, 2, 2),
    dilations=(1, 1, 1),
    out_indices=(2,),
)
teacher = dict(
    backbone=dict(stem_channels=32, base_channels=32, **backbone),
    head=dict(in_channels=128),
)
student = dict(
    backbone=dict(stem_channels=16, base_channels=16, **backbone),
    head=dict(in_channels=64),
)
del backbone
