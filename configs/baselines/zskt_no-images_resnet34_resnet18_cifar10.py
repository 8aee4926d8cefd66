# MMRazor's ZSKT without real training images. It only uses the size of a
# batch, so black images replace them.
_base_ = './zskt_resnet34_resnet18_cifar10.py'

train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, type='mmrazor.DummyImages'),
)
# A resumed run draws the noise that it would have drawn without a stop.
custom_hooks = [dict(type='mmrazor.StepSeedHook')]
