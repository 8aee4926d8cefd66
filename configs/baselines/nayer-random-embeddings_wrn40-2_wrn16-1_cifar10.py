# NAYER (Tran et al., CVPR 2024) with random embeddings of the classes: its
# generator makes images of embeddings, through layers that are drawn again in
# every round. The numbers are those of nayer_100.sh of github
# tmtuan1307/NAYER, 100 epochs after 20 of warm-up; max_epochs=300 are those of
# nayer_300.sh.
#
# The authors' embeddings are those of "a image of airplane" and so on by the
# text encoder of CLIP, ViT-B/32. To use them, write a tensor (10, 512) by
# torch.save and set
#   --cfg-options default_hooks.synthesis.synthesizer.generator.embeddings=FILE
# With the package clip of github openai/CLIP, and names of the classes in
# order:
#   model = clip.load('ViT-B/32', 'cpu')[0]
#   tokens = clip.tokenize([f'a image of {name}' for name in names])
#   torch.save(model.encode_text(tokens).detach().float(), FILE)
_base_ = '../_base_/related_wrn40-2_wrn16-1_cifar10.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 100
steps, batch_size = 400, 512
# Images of a round, and of each class in them.
round_size = 400

default_hooks = dict(
    synthesis=dict(
        # 20 epochs of 10 rounds, before student training starts.
        init_rounds=200,
        init_iters=30,
        rounds=2,
        synthesizer=dict(
            batch_size=round_size,
            iters=30,
            generator=dict(
                _delete_=True,
                type='NoisyLayerGenerator',
                num_classes=10,
                num_layers=round_size // 10,
                generator=dict(
                    type='CSDGenerator',
                    img_size=_base_.img_size,
                    hidden_channels=64,
                    init_cfg=None,
                ),
            ),
            # Drawn again after 10 epochs, noisy layers in every round.
            meta=dict(
                type='LastingGenerator', life=10 * 2, initial_life=10 * 10
            ),
            labels='balanced',
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=0.5),
                loss_bn=dict(
                    type='MovingBNStatisticsLoss', loss_weight=10, momentum=0.9
                ),
                loss_adv=dict(
                    type='AdversarialLoss', loss_weight=1.33, agreed_only=True
                ),
            ),
            optimizer=dict(lr=4e-3),
        ),
    )
)
optim_wrapper = dict(architecture=dict(optimizer=dict(lr=0.2)))
param_scheduler = dict(architecture=dict(eta_min=2e-4))
train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
