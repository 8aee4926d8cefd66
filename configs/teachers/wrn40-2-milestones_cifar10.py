# WRN-40-2 on CIFAR-10 by the recipe of the related methods' authors
# (train_scratch.py of github zju-vipa/CMI) in place of that of
# ../_base_/teacher.py: batches of 256, weight decay 1e-4, no Nesterov
# momentum, and a tenth of the rate after 120, 150 and 180 of 200 epochs. The
# authors keep the epoch that is best on the test images; take epoch_200.pth to
# select nothing by them.
_base_ = './wrn40-2_cifar10.py'

# ---- Frequently modified -------------------------------------------------
batch_size = 256

optim_wrapper = dict(optimizer=dict(weight_decay=1e-4, nesterov=False))
param_scheduler = dict(
    _delete_=True,
    type='MultiStepLR',
    milestones=[120, 150, 180],
    gamma=0.1,
    by_epoch=True,
)
auto_scale_lr = dict(base_batch_size=batch_size)
train_dataloader = dict(batch_size=batch_size)
