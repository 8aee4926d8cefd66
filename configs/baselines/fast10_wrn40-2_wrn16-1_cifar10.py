# Fast-Datafree with 10 steps per round, "Fast-10" (Fang et al., AAAI 2022): a
# generator that learns a good initialisation. The numbers are those of the
# authors' script fast_cifar.sh of github zju-vipa/Fast-Datafree, which says
# that they are for CIFAR-10, too.
_base_ = '../_base_/related_wrn40-2_wrn16-1_cifar10.py'

# ---- Frequently modified -------------------------------------------------
# Steps per round, and the learning rates of generator and latents for them.
iters, lr, latent_lr = 10, 2e-3, 0.01

default_hooks = dict(
    synthesis=dict(
        # The warm-up, before student training starts.
        init_rounds=20,
        init_iters=iters,
        synthesizer=dict(
            iters=iters,
            # The meta-generator starts from torch's own initial weights.
            generator=dict(init_cfg=None),
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=0.4),
                # All images together match the statistics, not each batch by
                # itself.
                loss_bn=dict(
                    type='MovingBNStatisticsLoss', loss_weight=10, momentum=0.9
                ),
                loss_adv=dict(
                    type='AdversarialLoss', loss_weight=1.1, agreed_only=True
                ),
            ),
            optimizer=dict(lr=lr),
            latent_lr=latent_lr,
            meta=dict(
                type='MetaGenerator',
                rule='fomaml',
                optimizer=dict(type='Adam', lr=lr * iters, betas=(0.5, 0.999)),
                # Once, after the warm-up and 119 epochs.
                reset_round=140,
            ),
        ),
    )
)
optim_wrapper = dict(architecture=dict(optimizer=dict(lr=0.2)))
# The learning rate decays to this one, and not to 0.
param_scheduler = dict(architecture=dict(eta_min=2e-4))
