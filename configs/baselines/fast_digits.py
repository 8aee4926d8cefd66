# Fast-Datafree (Fang et al., AAAI 2022) on the digits: a generator that
# learns a good initialisation, and 10 steps per round. As many steps in total
# as CSD's quickstart, in at least five times as many rounds. Weights as in
# fast10_wrn40-2_wrn16-1_cifar10.py.
_base_ = '../csd/csd_quickstart_digits.py'

# ---- Frequently modified -------------------------------------------------
# Steps per round (2, 5 and 10 in the paper), and the generator's learning
# rate.
iters, lr = 10, 2e-3

default_hooks = dict(
    synthesis=dict(
        init_rounds=1000 // iters,
        init_iters=iters,
        rounds=50 // iters,
        synthesizer=dict(
            iters=iters,
            generator=dict(init_cfg=None),
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=0.4),
                loss_bn=dict(
                    type='MovingBNStatisticsLoss', loss_weight=10, momentum=0.9
                ),
                loss_adv=dict(
                    type='AdversarialLoss', loss_weight=1.1, agreed_only=True
                ),
            ),
            optimizer=dict(lr=lr),
            latent_lr=0.01,
            meta=dict(
                type='MetaGenerator',
                rule='fomaml',
                optimizer=dict(type='Adam', lr=lr * iters, betas=(0.5, 0.999)),
                # At the same share of the rounds as in the authors' schedule.
                reset_round=(1000 + 500) // iters * 140 // 220,
            ),
        ),
    )
)
model = dict(aux_head=None)
param_scheduler = dict(architecture=dict(eta_min=2e-4))
