# MMRazor's ZSKT without any real training image: of a batch, it uses nothing
# but the size, so black images take their place.
_base_ = './zskt_resnet34_resnet18_cifar10.py'

train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    dataset=dict(_delete_=True, type='mmrazor.BlankImages'),
)
