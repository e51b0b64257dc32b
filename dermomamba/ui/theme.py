"""Look of the page: a quiet Gradio theme in both modes, system fonts; the rest is `assets/style.css`."""

from __future__ import annotations

from pathlib import Path

import gradio as gr
from gradio.themes.utils import colors, sizes

STYLE = Path(__file__).resolve().parents[2] / "assets" / "style.css"
SYSTEM_FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """White or near-black ground, one accent (cyan 700, or 300 on dark), 16 px body."""
    return gr.themes.Base(
        primary_hue=colors.cyan,
        secondary_hue=colors.slate,
        neutral_hue=colors.slate,
        text_size=sizes.text_lg,
        radius_size=sizes.radius_md,
        font=SYSTEM_FONTS,
        font_mono=MONO_FONTS,
    ).set(
        body_background_fill="#ffffff",
        body_background_fill_dark="#0b0f14",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#0b0f14",
        background_fill_secondary="#f6f8fa",
        background_fill_secondary_dark="#131a22",
        block_background_fill="#ffffff",
        block_background_fill_dark="#10161d",
        block_border_color="#d5dce3",
        block_border_color_dark="#2a3540",
        border_color_primary="#d5dce3",
        border_color_primary_dark="#2a3540",
        block_label_text_color="#334155",
        block_label_text_color_dark="#cbd5e1",
        block_title_text_color="#1e293b",
        block_title_text_color_dark="#e2e8f0",
        block_info_text_color="#526071",
        block_info_text_color_dark="#9fb0c3",
        body_text_color="#16202b",
        body_text_color_dark="#e6edf3",
        body_text_color_subdued="#526071",
        body_text_color_subdued_dark="#9fb0c3",
        color_accent="#0e7490",
        slider_color="#0e7490",
        slider_color_dark="#22b8d4",
        checkbox_background_color_selected="#0e7490",
        checkbox_background_color_selected_dark="#0e7490",
        checkbox_border_color_selected="#0e7490",
        button_primary_background_fill="#0e7490",
        button_primary_background_fill_hover="#155e75",
        button_primary_background_fill_dark="#0e7490",
        button_primary_background_fill_hover_dark="#0891b2",
        button_primary_text_color="#ffffff",
        button_secondary_background_fill="#eef2f5",
        button_secondary_background_fill_hover="#e1e8ed",
        button_secondary_background_fill_dark="#1b242e",
        button_secondary_background_fill_hover_dark="#25313d",
        button_secondary_text_color="#16202b",
        button_secondary_text_color_dark="#e6edf3",
        block_shadow="none",
        block_shadow_dark="none",
        button_primary_shadow="none",
        button_secondary_shadow="none",
    )
