# DFQ (Choi et al., CVPR Workshops 2020) on the digits: one generator goes on
# through the run and is trained to make images on which student and teacher
# disagree. Weights and the ratio of steps are those of
# dfq_wrn40-2_wrn16-1_cifar10.py, with as many student steps as CSD's
# quickstart. The student learns from logits and the last feature map.
_base_ = ['../csd/csd_quickstart_digits.py', '../_base_/dfq.py']

# ---- Frequently modified -------------------------------------------------
# An epoch is a round of one generator step, and these student steps.
max_epochs, steps, batch_size = 40, 10, 128

default_hooks = dict(
    synthesis=dict(
        init_rounds=0,
        synthesizer=dict(
            num_images=steps * batch_size,
            losses=dict(_delete_=True, **_base_.dfq_losses),
            **_base_.dfq,
        ),
    ),
    logger=dict(interval=10),
)
model = dict(
    aux_head=None,
    student_loss=None,
    data_preprocessor=dict(augment=None),
    distiller=dict(distill_losses=dict(loss_kd=dict(tau=1))),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=4)
train_dataloader = dict(
    batch_size=batch_size,
    # The student only sees the newest images.
    dataset=dict(capacity=steps * batch_size),
    sampler=dict(num_samples=steps * batch_size),
)
