# CIFAR-10: 32x32, 10 classes.
_base_ = './real_images.py'

num_classes = 10
classifier = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(
    num_classes=num_classes,
    # Of the training images, RGB, 0..255, as the paper's authors and
    # mmpretrain have them.
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=False,
)

# Downloads CIFAR-10, or takes <data_root>/test/<class>/*.png:
#   --cfg-options val_dataloader.dataset.data_root=FOLDER
val_dataloader = dict(
    dataset=dict(type='mmrazor.CIFAR10Images', data_root='data/cifar10')
)
test_dataloader = val_dataloader
