# DFAD (Fang et al., 2019) for ResNet-56 > ResNet-20, as dfad_cifar.sh of
# github zju-vipa/Fast-Datafree runs it, with the large generator of
# zju-vipa/CMI: ZSKT's loop with the mean absolute difference of logits as the
# loss of both.
_base_ = './zskt_resnet56_resnet20_cifar10.py'

logits = dict(
    s_feature=dict(from_student=True, recorder='logits'),
    t_feature=dict(from_student=False, recorder='logits'),
)
default_hooks = dict(
    synthesis=dict(
        synthesizer=dict(
            losses=dict(_delete_=True),
            distiller=dict(
                _delete_=True,
                type='ConfigurableDistiller',
                student_recorders=dict(
                    logits=dict(type='ModuleOutputs', source='head')
                ),
                teacher_recorders=dict(
                    logits=dict(type='ModuleOutputs', source='teacher.head')
                ),
                distill_losses=dict(
                    loss_adv=dict(type='L1Loss', loss_weight=-1.0)
                ),
                loss_forward_mappings=dict(loss_adv=logits),
            ),
        )
    )
)
model = dict(
    distiller=dict(
        distill_losses=dict(
            loss_kd=dict(_delete_=True, type='L1Loss', loss_weight=1.0)
        ),
        loss_forward_mappings=dict(loss_kd=dict(_delete_=True, **logits)),
    )
)
