# The student of csd_resnet14-32_resnet14-16_cifar10.py, trained on the real
# images and their labels for about as many steps (docs/results.md).
_base_ = './resnet14-32_cifar10.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 8

model = _base_.student
train_cfg = dict(max_epochs=max_epochs)
