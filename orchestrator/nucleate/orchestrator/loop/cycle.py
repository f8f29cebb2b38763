"""The loop of report section 3.2.3, top to bottom. Every line that begins with `steps.` is journalled and never done twice."""

from __future__ import annotations

from nucleate.orchestrator.loop.steps import Steps
from nucleate.orchestrator.loop.training_set import with_classical_fallback
from nucleate.v1 import common_pb2


def run_cycles(steps: Steps) -> None:
    """Run a plan to its end, or leave by an error or `Interrupted` at the step in progress."""
    refiner: common_pb2.Model | None = None
    interactive: common_pb2.Model | None = None
    hovernet: common_pb2.Model | None = None

    pool, evaluation = steps.normalize()
    steps.score_classical(evaluation)
    labels = classical = steps.pseudo_label("classical", pool)
    for cycle in range(1, steps.cycles + 1):
        synthetic = steps.synthesize(cycle, pool)
        refiner = refiner or steps.train_refiner(cycle, synthetic, pool)
        refined = steps.refine(cycle, refiner, synthetic)
        dataset = steps.build_dataset(cycle, refined, pool, labels)

        interactive = steps.train_interactive(cycle, dataset, interactive)
        hovernet = steps.train_hovernet(cycle, dataset, hovernet, pool)
        steps.score_cycle(cycle, hovernet, evaluation, pool)
        if cycle == steps.cycles:
            break

        # The new model labels the pool: proposals to annotate from, and what the next cycle trains itself on.
        labels = with_classical_fallback(steps.pseudo_label(f"cycle-{cycle}", pool, hovernet), classical)
        if steps.annotates:
            patches = steps.select(cycle, pool, labels, hovernet, interactive)
            steps.annotate(cycle, patches)
