# DFQ's adversarial distillation (Choi et al., CVPR Workshops 2020) as
# dfq_cifar10_wrn402_wrn161.sh of github zju-vipa/CMI runs it: one generator,
# which goes on through the run, is trained to make images on which student and
# teacher disagree. A step of the generator is followed by 10 of the student,
# each on new images.
_base_ = ['../_base_/related_wrn40-2_wrn16-1_cifar10.py', '../_base_/dfq.py']

# ---- Frequently modified -------------------------------------------------
# An epoch is a round of one generator step and what the student learns from
# it; 40 of these are one of the script's 200 epochs. The learning rate falls
# after each of these, and in the script after 40.
max_epochs = 200 * 40
steps, batch_size = 10, 256

default_hooks = dict(
    synthesis=dict(
        rounds=1,
        grid_images=0,
        synthesizer=dict(
            num_images=steps * batch_size,
            losses=dict(_delete_=True, **_base_.dfq_losses),
            **_base_.dfq,
        ),
    ),
    logger=dict(interval=10),
)
model = dict(
    # Neither is the student's batch augmented.
    data_preprocessor=dict(augment=None),
    # The script's --T 20 is not used: the code's criterion has temperature 1.
    distiller=dict(distill_losses=dict(loss_kd=dict(tau=1))),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=40)
train_dataloader = dict(
    batch_size=batch_size,
    # The student only sees the newest images.
    dataset=dict(capacity=steps * batch_size),
    sampler=dict(num_samples=steps * batch_size),
)
