# MNIST, 28x28 pixels, as distill() has it. Its teacher: mnist_teacher.py.
_base_ = './grey.py'

augment = dict(padding=2)
default_hooks = dict(synthesis=dict(synthesizer=dict(augment=augment)))
model = dict(
    image_shape=(1, 28, 28),
    data_preprocessor=dict(augment=augment, mean=[33.3], std=[78.6]),
    teachers=dict(
        teacher=dict(
            build_cfg=dict(width=16),
            ckpt_path='work_dirs/default_method/mnist/epoch_2.pth',
        )
    ),
)
val_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmrazor.FolderImages',
        data_root='data/mnist/test',
        image_shape=(1, 28, 28),
        num_classes=10,
    )
)
