"""The words of the Fine-tune tab; same rules as `ui.text`."""

from __future__ import annotations

from dermomamba.export import NOT_A_DEVICE

INTRO = (
    "Teach a copy of the network your own photos. Give at least four photos with outlines; some are held out and never"
    " learned from, to see whether it got better. The shipped weights stay as they are."
)
FILES = "Photos with masks, or a ZIP of them"
FILES_HELP = (
    "Name a mask after its photo: x.jpg and x_segmentation.png. A ZIP may also hold the folders images/ and masks/."
    " The mask has its photo's size; white is lesion."
)
WITHOUT = "Photos without masks: correct a proposal"
SETTINGS = "Settings"
LEARNS = "What learns"
LEARNS_CHOICES = {
    "decoder": "Decoder (quick)",
    "decoder+bottleneck": "Decoder and bottleneck",
    "all": "Everything",
}
LEARNS_HELP = {
    "decoder": "The part that draws the outline. The rest stays as it is, bit for bit.",
    "decoder+bottleneck": "Also the middle of the U and the gates of the bridges.",
    "all": "The whole network. On a processor this takes many times longer and more memory; meant for a GPU.",
}
EPOCHS = "Epochs"
EPOCHS_HELP = "How often each photo is learned from."
MINUTES = "Time limit (minutes)"
MINUTES_HELP = "For the learning alone. 0: no limit."
RATE = "Learning rate"
RATE_HELP = "0.0003 suits most. Smaller is more careful."
HELD_OUT = "Share held out"
HELD_OUT_HELP = "To judge with. Five photos or more make a judgement possible."
OWN = "Go on from weights of your own"
OWN_FILES = "The ZIP that was downloaded here, or .safetensors with its .json card"
OWN_USED = "{name} is used in this session, on all tabs, and fine-tuning goes on from it."
FROM = "Begins with: {name}."
START = "Start"
STOP = "Stop, keep the best"
CLEAR = "Remove all photos"
REMOVE = "Remove photo {number}"
REMOVE_NONE = "Remove one photo: choose it below"
PAIRS = "Photos with their outlines"
COUNT = "{count} photos can be used."
COUNT_ONE = "1 photo can be used."
COUNT_NONE = "No photos yet."
MISSING = "Fine-tuning needs at least {least}: {missing} more."
MISSING_ALL = "Fine-tuning needs at least {least}."
FEW_HELD_OUT = (
    "About {held} will be held out. Below five it can only be shown, not judged, whether it got better;"
    " give more photos or hold out a larger share."
)
CHECKING = "Checking the files ..."
LEFT_OUT = "Left out"
PREPARING = "Reading the photos ..."
STAGES = {
    "reading": "Reading the photos",
    "features": "Looking at the photos once with the part that stays as it is",
    "learning": "Learning",
    "comparing": "Comparing before and after on the held-out photos",
}
WAITING = "Waiting: {place} before you."
STOPPING = "Stopping. The best so far is being compared."
LEFT = "about {seconds} left"
EPOCH = "Epoch {epoch} of {epochs}: loss {loss:.3f}, Dice of the held-out photos {dice:.4f} (before: {before:.4f})."
EPOCH_0 = "Before learning: Dice of the held-out photos {before:.4f}."
CURVE_LOSS = "Loss while learning"
CURVE_DICE = "Dice, held-out photos"
PREVIEW = "One held-out photo now"
PREVIEW_ALT = "A held-out photo with the outline that the network draws after this epoch."
FAILED_TITLE = "The fine-tuning did not finish"
CANNOT_TITLE = "The fine-tuning cannot start"
OWN_TITLE = "These weights cannot be used"
RESULT = "Is it better?"
ENDED = {
    "epochs": "All epochs were done.",
    "time": "The time was used up.",
    "stop": "It was stopped.",
    "diverged": "The loss stopped being a number; a smaller learning rate may help.",
}
KEPT = "Kept: the average after epoch {epoch}, the best on the held-out photos."
KEPT_BASE = "No epoch was better on the held-out photos, so the weights stayed as they were."
TABLE_HEAD = ("Held-out photo", "Dice before", "Dice after", "Change")
TABLE_PHOTO = "Photo {number}"
TABLE_MEAN = "Mean"
TABLE_PHANTOMS = "Drawn lesions, not learned from ({count})"
TABLE_PHANTOMS_NOTE = "What was forgotten: a drop here is the price."
INTERVAL = "95 % interval {low} to {high}"
TABLE_FEW = "Means of fewer than {enough} photos have no interval here: it would look surer than it is."
COMPARED = "Held-out photos with outlines"
COMPARED_NOTE = "White dashes: yours. Orange: before. Cyan: after."
COMPARED_CAPTION = "Photo {number}: {before:.3f} before, {after:.3f} after"
USE = "Use these weights in this session"
USED = "In use on all tabs of this session."
BACK = "Back to the shipped weights"
DOWNLOAD = "Download weights and card"
GONE = "This fine-tuning was put away. Start it again."
HEADER_OWN = "Weights: {name}, of this session, from {base}"
API = (
    "Fine-tune on photos with masks (a ZIP or files) and get a ZIP of new weights with their card, and the comparison"
    " on held-out photos as JSON. " + NOT_A_DEVICE
)
