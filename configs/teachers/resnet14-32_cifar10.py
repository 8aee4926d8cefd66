# A ResNet of three stages that starts with 32 channels and soon halves its
# maps: a teacher that two CPU cores train in minutes (docs/results.md).
_base_ = '../_base_/teacher_cifar10.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 12

model = dict(
    backbone=dict(
        type='ResNet_CIFAR',
        depth=18,
        stem_channels=32,
        base_channels=32,
        num_stages=3,
        strides=(2, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
    ),
    head=dict(in_channels=128),
)
train_cfg = dict(max_epochs=max_epochs)
# bfloat16 takes two thirds of the time on a CPU that has it.
optim_wrapper = dict(type='mmrazor.AutocastOptimWrapper')
