# CIFAR-100: 32x32, 100 classes.
_base_ = './real_images.py'

num_classes = 100
classifier = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(
    num_classes=num_classes,
    # Mean and std of the training images, RGB, 0..255, from mmpretrain. The
    # paper's authors use values within 0.1 % of these.
    mean=[129.304, 124.070, 112.434],
    std=[68.170, 65.392, 70.418],
    to_rgb=False,
)

# CIFAR-100 is downloaded, or read from <data_root>/test/<class>/*.png:
#   --cfg-options val_dataloader.dataset.data_root=FOLDER
val_dataloader = dict(
    dataset=dict(type='mmrazor.CIFAR100Images', data_root='data/cifar100')
)
test_dataloader = val_dataloader
