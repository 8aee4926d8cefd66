# CMI, Contrastive Model Inversion (Fang et al., IJCAI 2021): images should
# differ from all earlier ones. The numbers are those of the authors' script
# for a student trained from scratch, scratch_cmi_cifar10_wrn402_wrn161.sh of
# github zju-vipa/CMI.
_base_ = '../_base_/related_wrn40-2_wrn16-1_cifar10.py'

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            iters=200,
            losses=dict(
                _delete_=True,
                loss_oh=dict(type='OneHotLoss', loss_weight=1),
                loss_bn=dict(type='BNStatisticsLoss', loss_weight=1),
                # Only for images that both networks classify alike.
                loss_adv=dict(
                    type='AdversarialLoss', loss_weight=0.5, agreed_only=True
                ),
                # Two views of an image attract, all other images repel.
                loss_cr=dict(
                    type='ContrastiveLoss',
                    loss_weight=0.8,
                    tau=0.1,
                    # The head that makes the embedding, and its optimizer.
                    embed_dim=256,
                    optimizer=dict(type='Adam', lr=1e-3),
                    # Images to contrast with in each step, of the newest.
                    memory_size=4096,
                    memory_capacity=40960,
                ),
            ),
            # The second view; the first is ``augment``.
            view_augment=dict(type='RandomResizedCropFlip', scale=(0.25, 1)),
        )
    )
)
auto_scale_lr = dict(base_batch_size=128)
train_dataloader = dict(
    batch_size=128, sampler=dict(num_samples=_base_.steps * 128)
)
