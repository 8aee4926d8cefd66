# DAFL (Chen et al., ICCV 2019) for ResNet-56 > ResNet-20, as
# dafl_cifar10_wrn402_wrn161.sh of github zju-vipa/CMI runs it: DFQ's loop with
# 5 student steps for one of the generator, and without the terms that look at
# the student or at BN statistics. See dfq_wrn40-2_wrn16-1_cifar10.py.
_base_ = './dfq_resnet56_resnet20_cifar10.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 200 * 80
steps, batch_size = 5, 256

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            generator=dict(latent_dim=512),
            num_images=steps * batch_size,
            losses=dict(_delete_=True),
            distiller=dict(
                teacher_recorders=dict(
                    feature=dict(
                        type='ModuleOutputs', source='teacher.neck.gap'
                    )
                ),
                distill_losses=dict(
                    # Features of images should be large.
                    loss_activation=dict(
                        type='ActivationLoss', loss_weight=0.001
                    )
                ),
                loss_forward_mappings=dict(
                    loss_activation=dict(
                        feat_T=dict(from_student=False, recorder='feature')
                    )
                ),
            ),
        )
    )
)
train_cfg = dict(max_epochs=max_epochs, val_interval=80)
train_dataloader = dict(
    dataset=dict(capacity=steps * batch_size),
    sampler=dict(num_samples=steps * batch_size),
)
