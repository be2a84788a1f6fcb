"""Writes the pages and pictures of docs/ that come from the code: python docs/scripts/generate.py (needs matplotlib).

configuration.md from the option groups, models/*.md from the registry and benchmarks/RESULTS.json, pictures/ from the
operator, the specifications, the schedules and a run of story.md, and into README.md and training.md what benchmarks
found. What it writes is committed; tests/tasks/test_generated_docs.py says where that is out of date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent))

from mindcv_halo import create_model, get_pretrained_cfg, list_models  # noqa: E402
from mindcv_halo.models.macs import count_macs  # noqa: E402

# isort: split

import draw_architecture  # noqa: E402
import draw_cost  # noqa: E402
import draw_schedules  # noqa: E402
import draw_window  # noqa: E402
import tell_story  # noqa: E402
from configuration_page import write_configuration  # noqa: E402
from measured import write_measured  # noqa: E402
from model_cards import count_parameters, write_card, write_index  # noqa: E402
from model_lists import write_lists  # noqa: E402

ROOT = DOCS.parent
RESULTS = ROOT / "benchmarks" / "RESULTS.json"


def main() -> None:
    (DOCS / "configuration.md").write_text(write_configuration(), encoding="utf-8")
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    facts = {}
    for name in list_models():
        size = get_pretrained_cfg(name)["input_size"][1:]
        network = create_model(name)
        facts[name] = (count_parameters(network), count_macs(network, size))
        (DOCS / "models" / f"{name}.md").write_text(write_card(network, facts[name][1], results), encoding="utf-8")
        draw_architecture.draw(network.spec, size, DOCS / "pictures" / f"{name}.png")
    (DOCS / "models" / "index.md").write_text(write_index(facts), encoding="utf-8")
    for name, text in write_lists({name: parameters for name, (parameters, _) in facts.items()}).items():
        (ROOT / name).write_text(text, encoding="utf-8")
    for name, text in write_measured().items():
        (ROOT / name).write_text(text, encoding="utf-8")
    draw_window.draw(DOCS / "pictures" / "window.png")
    draw_cost.draw(results, DOCS / "pictures" / "cost.png")
    draw_schedules.draw(DOCS / "pictures" / "schedules.png")
    tell_story.draw(DOCS / "pictures")


if __name__ == "__main__":
    main()
