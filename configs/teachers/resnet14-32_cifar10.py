# A ResNet of three stages that starts with 32 channels and soon halves its
# maps: a teacher that two CPU cores train in minutes (docs/results.md).
_base_ = [
    '../_base_/teacher_cifar10.py',
    '../_base_/pairs/resnet14-32_resnet14-16.py',
]

# ---- Frequently modified -------------------------------------------------
max_epochs = 12

model = _base_.teacher
train_cfg = dict(max_epochs=max_epochs)
# bfloat16 takes two thirds of the time on a CPU that supports it.
optim_wrapper = dict(type='mmrazor.AutocastOptimWrapper')
