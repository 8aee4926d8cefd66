# CMI that starts from images which were inverted before without a student, as
# adv_cmi_cifar10_wrn402_wrn161.sh of github zju-vipa/CMI does: 40 epochs of
# 2,000 steps with one-hot weight 0.5. The authors publish their 50,000 images
# (cmi-preinverted-wrn402). Make others by CMI itself:
#   python tools/train.py configs/baselines/cmi_wrn40-2_wrn16-1_cifar10.py \
#       --work-dir work_dirs/cmi-inverted --cfg-options \
#       default_hooks.synthesis.init_rounds=195 \
#       default_hooks.synthesis.init_iters=200 \
#       train_cfg.max_epochs=1 default_hooks.synthesis.rounds=0
# and start from them:
#   --cfg-options train_dataloader.dataset.init_bank=FOLDER
_base_ = './cmi_wrn40-2_wrn16-1_cifar10.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 40
steps, batch_size = 2000, 128

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(losses=dict(loss_oh=dict(loss_weight=0.5)))
    )
)
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(init_bank='work_dirs/cmi-inverted/bank'),
    sampler=dict(num_samples=steps * batch_size),
)
