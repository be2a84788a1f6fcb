"""Every schedule of the learning rate, as a picture."""

from __future__ import annotations

from pathlib import Path

from mindcv_halo import create_scheduler
from mindcv_halo.report.pictures import make_figure, save_figure

STEPS_PER_EPOCH = 10
EPOCHS = 100
# Title, and what create_scheduler gets besides lr 0.1, min_lr 0.001 and a warm-up of 5 epochs.
SCHEDULES = (
    ("constant", {"min_lr": 1e-6}),  # the default: it has none
    ("cosine_decay", {}),
    ("cosine_decay, 3 cycles", {"num_cycles": 3, "cycle_decay": 0.7}),
    ("cosine_decay, per epoch", {"lr_epoch_stair": True, "warmup_factor": 0.1}),
    ("exponential_decay", {"decay_rate": 0.95}),
    ("polynomial_decay", {"decay_rate": 2.0}),
    ("step_decay", {"decay_epochs": 30, "decay_rate": 0.3}),
    ("multi_step_decay", {"milestones": [30, 60, 90], "decay_rate": 0.3}),
    ("one_cycle", {"warmup_epochs": 0}),
    ("cyclic", {"warmup_epochs": 0}),
)


def draw(path: Path) -> None:
    figure = make_figure(10, 8)
    panels = figure.subplots(4, 3, sharex=True, sharey=True).ravel()
    for panel, (title, options) in zip(panels, SCHEDULES, strict=False):
        settings = {"lr": 0.1, "min_lr": 0.001, "warmup_epochs": 5, "num_epochs": EPOCHS, **options}
        rates = create_scheduler(STEPS_PER_EPOCH, title.partition(",")[0], **settings)
        panel.plot([step / STEPS_PER_EPOCH for step in range(len(rates))], rates)
        panel.set_title(title, fontsize=9)
        panel.grid(alpha=0.3)
    for panel in panels[len(SCHEDULES) :]:
        panel.set_axis_off()
    save_figure(figure, path)
