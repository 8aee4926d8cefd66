# A teacher for SVHN. A config of configs/teachers names the backbone.
_base_ = ['./teacher.py', './svhn.py']

model = _base_.classifier
# Takes what val_dataloader takes: published files, or <data_root>/train.
train_dataloader = dict(
    dataset=dict(
        type=_base_.val_dataloader.dataset.type,
        data_root=_base_.val_dataloader.dataset.data_root,
        split='train',
        # Images as they are (authors' code, registry.py).
        pipeline=[dict(type='PackInputs')],
    )
)
