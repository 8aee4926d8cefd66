# Tiny-ImageNet: 64x64, 200 classes. Its validation images are used as the
# test set, since its own test images have no labels.
_base_ = './real_images.py'

num_classes = 200
classifier = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(
    num_classes=num_classes,
    # Mean and std of the training images, RGB, 0..255, as commonly used.
    mean=[122.451, 114.266, 101.363],
    std=[70.635, 68.621, 71.936],
    # Images are read from files as BGR.
    to_rgb=True,
)

# Tiny-ImageNet is downloaded, or read from <data_root>/val/<class>/*.JPEG:
#   --cfg-options val_dataloader.dataset.data_root=FOLDER
val_dataloader = dict(
    dataset=dict(
        type='mmrazor.TinyImageNet',
        data_root='data/tiny-imagenet',
        split='val',
        pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')],
    )
)
test_dataloader = val_dataloader
