# ZSKT (Micaelli and Storkey, NeurIPS 2019) for ResNet-56 > ResNet-20, as
# zskt_cifar10_wrn402_wrn161.sh of github zju-vipa/CMI runs it: DFQ's loop with
# 5 student steps for one of the generator, and the adversarial term alone. The
# original adds attention transfer to the student's loss, as
# zskt_resnet34_resnet18_cifar10.py does.
_base_ = './dfq_resnet56_resnet20_cifar10.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 200 * 80
steps, batch_size = 5, 256

default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            num_images=steps * batch_size,
            losses=dict(
                _delete_=True,
                loss_adv=dict(type='AdversarialLoss', loss_weight=1),
            ),
            distiller=dict(_delete_=True, type='ConfigurableDistiller'),
        )
    )
)
train_cfg = dict(max_epochs=max_epochs, val_interval=80)
train_dataloader = dict(
    dataset=dict(capacity=steps * batch_size),
    sampler=dict(num_samples=steps * batch_size),
)
