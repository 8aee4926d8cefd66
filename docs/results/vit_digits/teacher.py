# A ViT with 60,000 weights, trained on the digits: a teacher without BN.
_base_ = '../../../configs/teachers/resnet_digits.py'

max_epochs = 40

# timm's, at tokens of 2x2 pixels.
model = dict(
    _delete_=True,
    type='mmrazor.TorchClassifier',
    factory='timm.create_model',
    model_name='vit_tiny_patch16_224',
    img_size=8,
    patch_size=2,
    in_chans=1,
    embed_dim=48,
    depth=2,
    num_heads=3,
    num_classes=10,
    data_preprocessor=dict(
        type='mmpretrain.ClsDataPreprocessor', **_base_.data_preprocessor
    ),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=2e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=1),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=20)
default_hooks = dict(checkpoint=dict(interval=20))
# It learns faster without crops.
train_dataloader = dict(
    batch_size=96, dataset=dict(pipeline=[dict(type='PackInputs')])
)
