# The same network fine-tuned with labels on the 50,000 training images in as
# many steps, for comparison. This config opens real training images:
#   --cfg-options train_dataloader.dataset.init_bank=FOLDER
# with <class>/*.png in it.
_base_ = './csd_resnet56_pruned_cifar10.py'

# It is fine-tuned as usual: no layer is fitted first.
custom_hooks = []
optim_wrapper = dict(architecture=dict(optimizer=dict(lr=0.03)))
default_hooks = dict(
    synthesis=dict(
        init_rounds=0,
        rounds=0,
        target_maps=False,
        synthesizer=dict(keep_targets=False),
    )
)
model = dict(
    student_loss=dict(
        _delete_=True, type='mmpretrain.CrossEntropyLoss', loss_weight=1.0
    ),
    distiller=None,
    data_preprocessor=dict(
        augment=dict(_delete_=True, type='RandomCropFlip', padding=4)
    ),
)
train_dataloader = dict(dataset=dict(init_bank='data/cifar10/train'))
