# Teacher of the quickstart: resnet_digits.py in 10 epochs, not 30, by one
# cycle of the learning rate. Only the teacher is trained on real digits.
_base_ = './resnet_digits.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 10
lr = 0.1

optim_wrapper = dict(optimizer=dict(lr=lr))
# Rises for 3 epochs, then decays until the end of training.
param_scheduler = dict(
    _delete_=True,
    type='OneCycleLR',
    eta_max=lr,
    total_steps=max_epochs,
    by_epoch=True,
    convert_to_iter_based=True,
)
train_cfg = dict(max_epochs=max_epochs)
