"""Every word that the page shows, in one place: to be read in one go, checked and translated.

Short and plain, in the language of dermatology where it has a word. Measures bring their own labels, formulas
and reasons (`dermomamba.measure`), errors their own sentences (`dermomamba.errors`).
"""

from __future__ import annotations

from dermomamba.export import NOT_A_DEVICE

APP = "DermoMamba Studio"
NOTICE = NOT_A_DEVICE
TABS = {"analyse": "Analyse", "attention": "Attention", "batch": "Batch", "finetune": "Fine-tune", "about": "About"}
WEIGHTS_LOADING = "weights are loading"
WEIGHTS = "Weights: {weights}"
FOOTER = "Version {version}, on {device}, scan back end {backend}. Photos stay on the machine that runs this page."
FOOTER_LOADING = "The network is being loaded. Photos stay on the machine that runs this page."

# Analyse: photo
PHOTO = "Dermoscopic photo"
PHOTO_PLACEHOLDER = "Drop a photo here\n- or -\nclick to choose one"
PHOTO_ALT = "The photo as it was read, without the outline."
EXAMPLES = "No photo at hand? Try a drawn example"
EXAMPLES_NOTE = "Computer-drawn, with known truth. No patient."
EXAMPLE_LABELS = {
    "small-round": "Small, round",
    "large-irregular": "Large, irregular",
    "dark-skin": "Dark skin",
    "hairs": "Hairs",
    "ruler": "Ruler",
    "dark-corners": "Dark corners",
    "pale": "Pale",
    "cut-by-frame": "Cut by the frame",
}
SCALE = "Scale (mm)"
SCALE_HELP = "Without a scale, lengths are in pixels. Give one in any of three ways."
SCALE_NUMBER = "mm per pixel"
SCALE_EXAMPLE = "for example 0.05"
SCALE_NUMBER_HELP = "By number. Leave empty for pixels."
LINE_LENGTH = "Known length (mm)"
LINE_LENGTH_HELP = "By a line: mark its two ends in the picture."
LINE_BUTTON = "Mark a line in the picture"
LINE_STOP = "Stop marking"
LINE_FIRST = "Click the first end of the known length in the picture."
LINE_SECOND = "Now click the other end."
LINE_DONE = "The line is {pixels:.0f} px long: 1 px = {scale:.4g} mm."
LINE_NO_LENGTH = "Give the length of the line in mm first, a number above 0."
LINE_NO_PHOTO = "Drop a photo first, then mark a line in it."
RULER_BUTTON = "Find the ruler in the photo"
RULER_CONFIRM = "Use this scale"
RULER_CONFIRMED = "Ticks are {spacing:.1f} px apart: 1 px = {scale:.4g} mm."
RULER_TICK = "Distance between ticks (mm)"
SCALE_SOURCES = {
    "entered": "typed by hand",
    "line": "from a line of known length",
    "ruler": "from the ruler in the photo, confirmed",
    "example": "known, because the example was drawn with it",
}
OPTIONS = "Options"
THRESHOLD = "Threshold"
THRESHOLD_HELP = "A pixel belongs to the lesion from this probability on. 0.5 is the usual value."
LARGEST = "Keep only the largest region"
FILL = "Fill holes"
TTA = "Average over turned copies (slower)"
TTA_HELP = "Runs the network on mirrored copies of the photo too, and averages."

# Analyse: result
RESULT = "Result"
LAYER = "Layer"
LAYERS = {
    "outline": "Outline",
    "mask": "Filled mask",
    "probability": "Probability",
    "guide": "Guide Fusion",
    "cbam1": "CBAM 1",
    "cbam2": "CBAM 2",
    "cbam3": "CBAM 3",
    "cbam4": "CBAM 4",
    "cbam5": "CBAM 5",
}
DRAWN = "Measures drawn"
DRAWN_CHOICES = {
    "diameter": "Longest diameter",
    "bays": "Indentations, protrusions",
    "folds": "Folded outline",
}
DRAWN_WHAT = {
    "diameter": "Yellow line: longest diameter; white line: width across it.",
    "bays": "Orange discs: indentations; lilac triangles: protrusions.",
    "folds": (
        "Dashed lines: the two axes. The outline folded over the long axis is lilac, over the short one orange;"
        " where it leaves the cyan outline the lesion is not symmetric."
    ),
}
DRAWN_NONE = "No indentation or protrusion is deep enough to be drawn."
OPACITY = "Opacity"
WHAT = {
    "outline": "The border that the network drew, at probability {threshold:g}.",
    "mask": "All that the network counts as lesion, at probability {threshold:g}.",
    "probability": "How sure the network is, pixel by pixel, that this is lesion.",
    "guide": (
        "Closeness to the predicted border, 1/(1 + distance in the network's pixels): the weight that the loss gives"
        " each pixel. It is arithmetic on the outline, not something that the network saw. It does not say why."
    ),
    "cbam": (
        "Where the network let information pass at this scale: its own gate, 0 closed to 1 open. It does not say why."
    ),
}
RANGE = "Colours run from {low:g} to {high:g}. This map has values from {min:.3g} to {max:.3g}."
RANGE_OWN = "Colours are stretched to this map's own range, {min:.3g} to {max:.3g}."
COMPUTED = "Computed at {rows} x {columns}, smoothly enlarged."
OPACITY_HELP = "Mask and maps."
EMPTY_TITLE = "Drop a dermoscopic photo"
EMPTY_LINES = (
    "JPEG, PNG, WebP, BMP or TIFF, up to 30 MB. The outline appears by itself.",
    "Or paste from the clipboard, use the camera, or take one of the drawn examples.",
)
WORKING = "Outlining the lesion ..."
WORKING_FIRST = "Loading the network, then outlining ..."
DONE = "Done in {seconds:.1f} s."
CANNOT = "Cannot measure"
CANNOT_HELP = "The photo and the maps are shown. What could not be measured is listed with its reason."
ERROR_TITLE = "This file cannot be used"
ENGINE_ERROR_TITLE = "The network could not be loaded"
UNEXPECTED_TITLE = "This photo could not be analysed"
UNEXPECTED = "Something went wrong inside the program. The photo was not kept. Try once more or use another photo."
PUT_AWAY = "This photo was put away after 30 minutes. Drop it again."
NOTHING_YET = "Analyse a photo first. Then its numbers and files are here."
ALT = "{picture} {words}"

# Numbers
NUMBERS = "Numbers"
INTERVAL = "Interval"
HEAD = ("Measure", "Value", INTERVAL, "Truth")
NOT_MEASURED = "not measured"
FORMULA = "formula"
MORE = "More measures ({count})"
HEADLINE = ("area", "longest_diameter", "border_irregularity")
MAIN = ("area", "area_fraction", "longest_diameter", "perimeter", "border_irregularity", "outline_certainty")
UNRELIABLE = "Unsteady: varies more with the picture than between lesions."
TRUTH_NOTE = "Truth is known because the example was drawn; Δ is the difference of the measured value from it."
SCALE_NOTE = "Scale: 1 px = {scale:.4g} mm, {source}."
NO_SCALE_NOTE = "No scale given: lengths are in pixels."
WORDS = "In words"
FILLED_NOTE = "{filled} px of holes were filled."

# ABCD, for teaching
ABCD_TITLE = "ABCD rule, for teaching"
ABCD_INTRO = (
    "Four scores, weighed and added (Stolz; Nachbar and others 1994). A, B and C are suggested from the picture; change"
    " what you see otherwise. D is yours."
)
ABCD_SUGGESTED = "Suggested {value}."
ABCD_NO_SUGGESTION = "No suggestion: this could not be measured here."
ABCD_D = "Count them yourself: network, structureless areas, branched streaks, dots, globules."
ABCD_MISSING = "Still to be entered: {letters}. Then the sum is written out here."
ABCD_SUM = "Sum"
ABCD_RANGE = "The sum runs from 1.0 to 8.9. It is here to learn the rule by; nothing is concluded from it."

# Files
FILES = "Take away"
FILE_BUTTONS = {
    "mask": "Mask PNG",
    "overlay": "Overlay PNG",
    "csv": "CSV",
    "json": "JSON",
    "geojson": "GeoJSON",
    "svg": "SVG",
    "report": "Report PDF",
    "all": "All, as ZIP",
}

# Attention
ATTENTION_TITLE = "What the network lets pass"
ATTENTION_INTRO = (
    "DermoMamba is shaped like a U. Down the left it looks at the photo ever more coarsely; up the right it"
    " draws the outline ever more finely. Five bridges carry detail across. On each bridge sits a gate (CBAM)."
)
ATTENTION_PICK = "Choose a bridge in the picture, or with the slider."
ATTENTION_EMPTY = "Analyse a photo first, or take an example."
ATTENTION_EXAMPLE = "Take an example"
LEVEL = "Bridge"
LEVEL_HELP = "1 is the finest, 5 the coarsest."
SAME_SCALE = "Same colours for all bridges (0 to 1)"
UNTRAINED = "Beside it: the same network before training"
UNTRAINED_HELP = "What differs was learned. What is alike comes from the photo and from the network's shape."
UNTRAINED_TITLE = "The same gate, untrained"
UNTRAINED_WHAT = "The same gate in a network with random initial weights, which has seen no photo."
UNTRAINED_ALT = "Spatial gate of bridge {level} of the untrained network over the photo, values {min:.2f} to {max:.2f}."
UNTRAINED_LINE = "The line shows the gates of the untrained network, from {max:.2f} down to {min:.2f}."
SPATIAL = "Where: the gate over the photo"
SPATIAL_ALT = "Spatial gate of bridge {level} over the photo, values {min:.2f} to {max:.2f}."
CHANNELS = "Which: the {count} channel gates, sorted"
CHANNELS_TEXT = (
    "Each bar is one of {count} channels. Bridge {level} lets between {min:.2f} and {max:.2f} of a channel through;"
    " the middle one {median:.2f}."
)
CHANNELS_ALT = "Sorted bar chart of {count} channel gates from {max:.2f} down to {min:.2f}."
U_ALT = "The network as a U with five bridges"
U_SKIP = "Bridge {level}: {rows} x {columns}, {channels} channels"
U_DOWN = "look coarser"
U_UP = "draw finer"
U_BOTTOM = "512 channels, 6 x 8"
U_PHOTO = "photo"
U_OUTLINE = "outline"

# Batch
BATCH_INTRO = (
    "Drop many photos, or ZIP files of photos. Files that cannot be read are listed and left out."
    " At the end there is one ZIP with a table, masks, overlays and a report."
)
BATCH_FILES = "Photos or ZIP"
BATCH_SCALE = "mm per pixel, the same for all photos (empty: pixels)"
BATCH_NAMES = "Name the results after my files"
BATCH_NAMES_HELP = "Only if the file names do not tell who the patient is. Otherwise: image-0001, in order."
BATCH_EMPTY_TITLE = "The batch cannot start"
BATCH_NOTHING = "No photos measured yet"
BATCH_NOTHING_LINES = ("Choose photos or a ZIP, then Start. Outlines and numbers appear here.",)
BATCH_START = "Start"
BATCH_STOP = "Stop"
BATCH_SORT = "Sort by"
BATCH_ORDER = "Order of the files"
BATCH_GALLERY = "Outlines"
BATCH_ZIP = "Download all as one ZIP"
BATCH_PROGRESS = "Photo {done} of {total}"
BATCH_DONE = "{done} of {total} photos measured in {seconds:.0f} s ({rate:.1f} photos a minute)."
BATCH_STOPPED = "Stopped. {done} of {total} photos were measured."
BATCH_SKIPPED = "Left out"
BATCH_EMPTY = "Choose photos or a ZIP first."
BATCH_CASE = "Case"
BATCH_NOTE = "Note"
BATCH_LARGEST = "{measure}: largest first"
BATCH_LEAST = "{measure}: least certain first"
BATCH_BAD = "photo {number}: {reason}"
BATCH_SHOWN = "The gallery shows the first {shown} of {total} in this order."

# About
ABOUT = """
## What this is
{app} draws the outline of a skin lesion in a dermoscopic photo, measures the outline, and shows what the network
let pass on the way. The network is DermoMamba, a compact U-Net with selective scans (about five million weights):
Hoang and others, *Pattern Analysis and Applications* 28:128 (2025),
[doi 10.1007/s10044-025-01506-w](https://doi.org/10.1007/s10044-025-01506-w).
This is an independent implementation.

**{notice}** Do not use it for the care of a patient.

## Where it fails
Pale lesions on pale skin, lesions that leave the frame, hair, gel bubbles and dark corners are hard. Most training
photos show light skin; on darker skin it has been tested little. Always look at the outline before you use a number.

## Privacy
Only pixels are used. Names, dates, places and other tags in a file are dropped on reading; the upload is deleted
five minutes later. The pictures made from it lie in a private folder and go within 40 minutes. Both go when the
program stops. Nothing is sent elsewhere, counted or logged. Still: do not upload a photo that shows who the patient is.

## Licences
Code: Apache-2.0. Weights: CC BY-NC 4.0. Drawn examples: CC0.
"""
CARD_TITLE = "## The weights in use"
CARD_FOLD = "{count} settings"
CARD_LONG = "{count} values"
CARD_NONE = "none"
CARD_MISSING = "No card lies beside the weights in use."
FORMULAS_TITLE = "## Formulas"
FORMULAS_INTRO = "Each measure as it is computed. Lengths are in photo pixels, or mm with a scale."
FORMULAS_EXTRA = (
    ("Probability", "sigmoid of the network's output, enlarged bilinearly to the photo's size"),
    ("Guide Fusion map", "1 / (1 + d), d = distance to the predicted border in the network's pixels"),
    ("CBAM gates", "sigmoid; channel gate first, then spatial gate (Woo et al. 2018, doi 10.1007/978-3-030-01234-2_1)"),
)
FORMULA_HEAD = ("Measure", "Formula", "Source")
ENDPOINTS_TITLE = "## For programs"
ENDPOINTS = """
```python
from gradio_client import Client, handle_file
client = Client("http://127.0.0.1:7860")
mask, overlay, numbers = client.predict(handle_file("photo.jpg"), api_name="/segment")
numbers = client.predict(handle_file("photo.jpg"), 0.05, api_name="/measure")
weights, judged = client.predict([handle_file("pairs.zip")], api_name="/finetune")
```
"""
API_SEGMENT = "Outline one photo: mask PNG, overlay PNG, and all numbers as JSON. " + NOT_A_DEVICE
API_MEASURE = "Measure one photo, with mm per pixel or without: JSON. " + NOT_A_DEVICE
API_BATCH = "Outline and measure many photos or ZIP files: one ZIP. " + NOT_A_DEVICE
