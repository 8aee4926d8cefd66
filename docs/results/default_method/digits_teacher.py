# A teacher of anyone's own, trained on the digits of scikit-learn.
_base_ = '../../../configs/teachers/resnet_digits.py'

model = dict(
    _delete_=True,
    type='mmrazor.TorchClassifier',
    factory='docs/results/label_free/net.py:Net',
    width=32,
    data_preprocessor=dict(
        type='mmpretrain.ClsDataPreprocessor', **_base_.data_preprocessor
    ),
)
train_cfg = dict(max_epochs=20)
