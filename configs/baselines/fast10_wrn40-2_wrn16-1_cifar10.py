# Fast-Datafree with 10 steps a round, "Fast-10" (Fang et al., AAAI 2022): a
# generator that learns to start well. Numbers of the authors' script
# fast_cifar.sh of github zju-vipa/Fast-Datafree, which says that they are
# those of CIFAR-10, too. What it lacks of it: the generator's first layer is
# drawn anew once, in epoch 140 there.
_base_ = '../_base_/related_wrn40-2_wrn16-1_cifar10.py'

# ---- Frequently modified -------------------------------------------------
# Steps a round, and the rates of generator and latents that go with them.
iters, lr, latent_lr = 10, 2e-3, 0.01

default_hooks = dict(
    synthesis=dict(
        # The warm-up, before the student starts.
        init_rounds=20,
        init_iters=iters,
        synthesizer=dict(
            iters=iters,
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=0.4),
                # All images together match the statistics, not each batch.
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
            ),
        ),
    )
)
optim_wrapper = dict(architecture=dict(optimizer=dict(lr=0.2)))
