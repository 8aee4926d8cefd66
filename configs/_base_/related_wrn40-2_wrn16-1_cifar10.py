# Related methods: what CMI, DFQ, Fast-Datafree and DeepInversion share in the
# scripts of their authors and of Fang (github zju-vipa/CMI and
# zju-vipa/Fast-Datafree) for WRN-40-2 > WRN-16-1 on CIFAR-10. There are 200
# epochs of 400 steps, with a round before each, and the student learns from
# the teacher's logits only.
_base_ = '../csd/csd_wrn40-2_wrn16-1_cifar10.py'

# ---- Frequently modified -------------------------------------------------
max_epochs = 200
steps, batch_size = 400, 256

default_hooks = dict(
    synthesis=dict(init_rounds=0, synthesizer=dict(batch_size=256))
)

model = dict(
    aux_head=None,
    student_loss=None,
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
            loss_kd=dict(type='KLDivergence', tau=20, loss_weight=1)
        ),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='logits'),
            )
        ),
    ),
)

train_cfg = dict(max_epochs=max_epochs)
auto_scale_lr = dict(base_batch_size=batch_size)
train_dataloader = dict(
    batch_size=batch_size, sampler=dict(num_samples=steps * batch_size)
)
