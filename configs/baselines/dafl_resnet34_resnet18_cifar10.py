# MMRazor's DAFL, unmodified except for the source of CIFAR-10. It is
# downloaded, or set by
#   --cfg-options train_dataloader.dataset.data_root=FOLDER
#       val_dataloader.dataset.data_root=FOLDER
# with train/<class>/*.png and test/<class>/*.png. Only the size of the real
# training batches is used, see dafl_no-images_resnet34_resnet18_cifar10.py.
#
# The teacher is downloaded, or set by
#   --cfg-options model.teachers.res34.build_cfg.pretrained=False
#       model.teachers.res34.ckpt_path=FILE
_base_ = (
    'mmrazor::distill/mmcls/dafl/'
    'dafl_logits_resnet34_resnet18_8xb256_cifar10.py'
)
custom_imports = dict(imports=['csd_mmrazor'], allow_failed_imports=False)

train_dataloader = dict(
    dataset=dict(
        type='mmrazor.CIFAR10Images', data_root='data/cifar10', split='train'
    )
)
val_dataloader = dict(
    dataset=dict(
        type='mmrazor.CIFAR10Images', data_root='data/cifar10', split='test'
    )
)
test_dataloader = val_dataloader
