# Shows: two teachers. Images are optimised for the mean of both, and the
# student learns from both. Train the second one first:
#   python tools/train.py configs/teachers/resnet_digits.py \
#       --work-dir work_dirs/resnet_digits_1 --cfg-options randomness.seed=1
_base_ = '../csd/csd_quickstart_digits.py'

model = dict(
    teachers=dict(
        second=dict(
            build_cfg=_base_.teacher_net,
            ckpt_path='work_dirs/resnet_digits_1/epoch_30.pth',
        )
    ),
    distiller=dict(
        teacher_recorders=dict(
            second_logits=dict(type='ModuleOutputs', source='second.head')
        ),
        distill_losses=dict(
            loss_kd=dict(loss_weight=0.5),
            loss_kd2=dict(type='KLDivergence', tau=20, loss_weight=0.5),
        ),
        loss_forward_mappings=dict(
            loss_kd2=dict(
                preds_S=dict(from_student=True, recorder='logits'),
                preds_T=dict(from_student=False, recorder='second_logits'),
            )
        ),
    ),
)
