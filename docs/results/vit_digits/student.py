# The quickstart's student of that ViT, in fewer steps, without CSD's term. In
# place of loss_bn, the prior for teachers without BN is taken.
_base_ = '../../../configs/csd/csd_quickstart_digits.py'

max_epochs, steps, batch_size = 5, 40, 64

default_hooks = dict(
    synthesis=dict(
        init_rounds=5,
        init_iters=50,
        synthesizer=dict(
            batch_size=64,
            iters=30,
            losses=dict(loss_csd=dict(loss_weight=0)),
        ),
    ),
)
model = dict(
    aux_head=None,
    teachers=dict(
        teacher=dict(
            build_cfg=dict(
                _delete_=True,
                type='mmrazor.TorchClassifier',
                factory='timm.create_model',
                model_name='vit_tiny_patch16_224',
                img_size=8,
                patch_size=2,
                in_chans=1,
                embed_dim=48,
                depth=2,
                num_heads=3,
                num_classes=10,
            ),
            ckpt_path='work_dirs/vit_digits/epoch_40.pth',
        )
    ),
    distiller=dict(
        student_recorders=dict(feature=None),
        teacher_recorders=dict(
            feature=None,
            logits=dict(source='teacher.net.head'),
        ),
    ),
)
train_cfg = dict(max_epochs=max_epochs, val_interval=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
