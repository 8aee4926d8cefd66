# ImageNet: 224x224, 1,000 classes. Only its validation images are used.
_base_ = './real_images.py'

num_classes = 1000
classifier = dict(head=dict(num_classes=num_classes))
data_preprocessor = dict(
    num_classes=num_classes,
    # Mean and std of the training images, RGB, 0..255, of OpenMMLab's and
    # torchvision's networks.
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    # Images are read from files as BGR.
    to_rgb=True,
)

# Validation images are read from <data_root>/val/<class>/*.JPEG, or from
# <data_root>/val/*.JPEG with <data_root>/meta/val.txt:
#   --cfg-options val_dataloader.dataset.data_root=FOLDER
val_dataloader = dict(
    batch_size=64,
    num_workers=4,
    dataset=dict(
        type='mmrazor.ImageNetImages',
        data_root='data/imagenet',
        split='val',
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='ResizeEdge', scale=256, edge='short'),
            dict(type='CenterCrop', crop_size=224),
            dict(type='PackInputs'),
        ],
    ),
)
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_dataloader = val_dataloader
test_evaluator = val_evaluator
