# A teacher for SVHN. A config of configs/teachers names the backbone.
_base_ = ['./teacher.py', './svhn.py']

model = _base_.classifier
# Reads the published files, or <data_root>/train, like val_dataloader.
train_dataloader = dict(
    dataset=dict(
        type=_base_.val_dataloader.dataset.type,
        data_root=_base_.val_dataloader.dataset.data_root,
        split='train',
        # No augmentation (authors' code, registry.py).
        pipeline=[dict(type='PackInputs')],
    )
)
