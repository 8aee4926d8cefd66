# SVHN, house numbers: 32x32, 10 classes.
_base_ = './real_images.py'

num_classes = 10
classifier = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(
    num_classes=num_classes,
    # [0, 1] to [-1, 1] (authors' code, registry.py).
    mean=[127.5, 127.5, 127.5],
    std=[127.5, 127.5, 127.5],
    to_rgb=False,
)

# SVHN is downloaded, or read from <data_root>/test/<digit>/*.png:
#   --cfg-options val_dataloader.dataset.data_root=FOLDER
val_dataloader = dict(
    dataset=dict(type='mmrazor.SVHNImages', data_root='data/svhn')
)
test_dataloader = val_dataloader
