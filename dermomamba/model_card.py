"""The model card: what stands in the JSON beside the weights, as a page for people.

Sections follow Mitchell et al. 2019 (doi 10.1145/3287560.3287596) and Hugging Face's annotated model card. The text is
made from the JSON, so that no figure is typed twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

LABELS = {
    "dice": "Dice",
    "iou": "IoU",
    "threshold_jaccard": "ISIC threshold Jaccard (0 below 0.65)",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "precision": "precision",
    "boundary_iou": "boundary IoU",
    "nsd": "normalised surface Dice",
    "hd95": "HD95 (px)",
}


def with_evaluation(card: Mapping[str, Any], label: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """A card with the figures of one evaluation added or replaced.

    Args:
        card: the JSON card.
        label: what was evaluated, e.g. "PH2, open half (never trained on)".
        result: what ``dermomamba evaluate --json`` wrote.

    Returns:
        A new card; single images and their ids are left behind.
    """
    kept = ("n", "protocol", "metrics", "below_065", "published", "calibration", "sources")
    entry = {"label": label} | {key: result[key] for key in kept if key in result}
    others = [e for e in card.get("evaluations", []) if e["label"] != label]
    return {**card, "evaluations": [*others, entry]}


def _metrics(entry: Mapping[str, Any]) -> list[str]:
    lines = [f"### {entry['label']}, n = {entry['n']}", "", "| metric | mean | 95% interval |", "|---|---|---|"]
    for name, label in LABELS.items():
        if value := entry["metrics"].get(name):
            lines.append(f"| {label} | {value['mean']:.4f} | {value['low']:.4f} to {value['high']:.4f} |")
    published = entry.get("published", {})
    named = [f"{k} {v['mean']:.4f}" for k, v in published.items() if isinstance(v, Mapping) and "mean" in v]
    if named:
        lines += ["", f"By the published code's definitions, for comparison only: {', '.join(named)}."]
    return [*lines, "", f"Protocol: {entry['protocol']}", ""] if entry.get("protocol") else [*lines, ""]


def _training(card: Mapping[str, Any]) -> list[str]:
    on, recipe = card["trained_on"], card["recipe"]
    last = card["curve"][-1]  # trained_on was written with the best epoch
    seconds, count = last.get("seconds", on["seconds"]), last["epoch"]
    duration = f"{seconds / 60:.1f} minutes" if seconds >= 60 else f"{seconds:.0f} s"
    speed = f"{count} epoch{'s' * (count != 1)} in {duration}"
    precision = "fp32" if on["machine"] == "CPU" else recipe["precision"]  # autocast is a GPU's (learning/optimisation)
    added = {"lovasz_weight": "Lovasz hinge", "surface_weight": "boundary loss"}  # absent from older cards
    terms = "".join(f", {name} x {recipe[key]}" for key, name in added.items() if recipe.get(key))
    taught = ", ".join(teacher["name"] for teacher in card.get("taught_by", ()))
    return [
        f"- machine: {on['machine']} x {on['processes']}, torch {on['torch']}, scan back end {on['scan_backend']}; "
        f"{speed}",
        f"- loss: Guide Fusion, mode {recipe['loss']}, boundary weight {recipe['boundary_weight']}{terms}; AdamW, rate "
        f"{recipe['learning_rate']}, weight decay {recipe['weight_decay']}, batch {recipe['batch_size']}, "
        f"{precision}, EMA {recipe['ema']}, seed {recipe['seed']}",
        *([f"- share {recipe['teacher_weight']:g} of the loss: the mean probability of {taught}"] if taught else []),
        f"- kept: the average with the best validation IoU, {card['validation']['iou']:.4f} at epoch "
        f"{card['validation']['epoch']} (n = {card['validation']['n']}; {card['validation']['protocol']})",
    ]


def _with_ancestors(card: Mapping[str, Any]) -> list[str]:
    """How weights were trained, and what they went on from."""
    lines, ancestor = _training(card), card.get("started_from")
    while ancestor:
        lines += ["", f"Before that, from which it went on ({ancestor['name']}, sha256 {ancestor['sha256'][:12]}):", ""]
        if "trained_on" in ancestor:
            lines += _training(ancestor)
        elif "averaged_from" in ancestor:
            lines += [f"- {_mean_of(ancestor)}"]
            ancestor = ancestor["averaged_from"][0]
            if "trained_on" in ancestor:
                title = f"The first of them ({ancestor['name']}, sha256 {ancestor['sha256'][:12]}):"
                lines += ["", title, "", *_training(ancestor)]
        ancestor = ancestor.get("started_from")
    return lines


def _mean_of(card: Mapping[str, Any]) -> str:
    """What an average is, in a line."""
    found = card["validation"]
    return (
        f"the mean of {len(card['averaged_from'])} sets of weights that went on from one start (Wortsman et al. "
        f"2022, arXiv 2203.05482); validation IoU {found['iou']:.4f} (n = {found['n']}; {found['protocol']})"
    )


def _average(card: Mapping[str, Any]) -> list[str]:
    """The members of an average of weights."""
    lines = [f"- {_mean_of(card)}"]
    for member in card["averaged_from"]:
        title = f"### {member['name']}, share {member['share']:.0%}, sha256 {member['sha256'][:12]}"
        lines += ["", title, "", member.get("description", ""), ""]
        if "averaged_from" in member:
            lines += _average(member)
        elif "trained_on" in member:
            lines += _with_ancestors(member)
    return lines


def render(card: Mapping[str, Any]) -> str:
    """The card as Markdown.

    Args:
        card: the JSON card.

    Returns:
        Text with Hugging Face's YAML header.
    """
    sources = "\n".join(
        f"- {s['source']}: {s['train']} pairs to learn from, {s['validation']} held out for validation"
        for s in card["data"]
    )
    lines = [
        "---",
        "license: cc-by-nc-4.0",
        "library_name: dermomamba",
        "pipeline_tag: image-segmentation",
        "tags: [dermoscopy, medical-imaging, mamba, image-segmentation]",
        "---",
        "",
        f"# {card['name']}",
        "",
        f"**{card['notice']}**",
        "",
        f"{card['description']} {card['architecture']}, {card['parameters']:,} parameters, "
        f"{card['image_size'][0]} x {card['image_size'][1]} pixels. Licence {card['licence']} (from its data).",
        "",
        "## Uses",
        "",
        "Research and teaching: outline the lesion in a dermoscopic photo, measure it, show where the network looked, "
        "start fine-tuning. Out of scope: any decision about a person's care, clinical (non-dermoscopic) photos, "
        "classification of lesions.",
        "",
        "## Limits",
        "",
        "Trained on photos of mostly light skin (ISIC archive); low contrast between lesion and skin, hair, ink and "
        "lesions that leave the frame make it worse. The best programs of the ISIC 2018 challenge still failed on more "
        "than 10% of the images (Codella et al. 2019, arXiv 1902.03368). Experts themselves draw borders differently.",
        "",
        "## Training",
        "",
        sources,
        *(_average(card) if "averaged_from" in card else _with_ancestors(card)),
    ]
    lines += ["", "## Evaluation", ""]
    for entry in card.get("evaluations", []):
        lines += _metrics(entry)
    lines += [*_sources(), f"<!-- made by: dermomamba card {card['name']} -->", ""]
    return "\n".join(lines)


def _sources() -> Sequence[str]:
    return (
        "## Sources",
        "",
        "- network and loss: Hoang, Nguyen, Tran, Pham 2025, Pattern Analysis and Applications 28:128, "
        "doi 10.1007/s10044-025-01506-w",
        "- images and masks: ISIC 2018 Task 1, CC BY-NC 4.0 (Codella et al. 2019, arXiv 1902.03368; Tschandl, "
        "Rosendahl, Kittler 2018, doi 10.1038/sdata.2018.161)",
        "- test images of another camera: PH2 (Mendonca et al. 2013, EMBC)",
        "",
    )
