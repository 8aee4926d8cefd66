# CIFAR-10: 32x32, 10 classes.
_base_ = './real_images.py'

num_classes = 10
classifier = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(
    num_classes=num_classes,
    # Mean and std of the training images, RGB, 0..255, from the paper's
    # authors and mmpretrain.
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=False,
)

# CIFAR-10 is downloaded, or read from <data_root>/test/<class>/*.png:
#   --cfg-options val_dataloader.dataset.data_root=FOLDER
val_dataloader = dict(
    dataset=dict(type='mmrazor.CIFAR10Images', data_root='data/cifar10')
)
test_dataloader = val_dataloader
