"""What the Fine-tune tab does: its parts, and what each of them writes. `finetune` lays the parts out.

Every handler finds what it works on by the session's hash, never by something that the browser sends.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from dermomamba import render
from dermomamba.errors import DermoMambaError
from dermomamba.images import decode
from dermomamba.ui import finetune_views as show
from dermomamba.ui import text_finetune as words
from dermomamba.ui import views
from dermomamba.ui.correct_box import CorrectBox
from dermomamba.ui.engine import Engine, OwnWeights
from dermomamba.ui.finetune_layout import Inputs, Outputs
from dermomamba.ui.finetune_session import Session, Sessions
from dermomamba.ui.parts import forget

LOG = logging.getLogger(__name__)
Updates = dict[Any, Any]


@dataclass
class FineTuneTab:
    """The tab's parts and the handlers behind them."""

    engine: Engine
    sessions: Sessions
    own: gr.State
    box: CorrectBox
    inputs: Inputs
    outputs: Outputs

    @property
    def collected(self) -> list[Any]:
        """What shows the collection of photos."""
        o = self.outputs
        return [o.status, o.count, o.tidy, o.remove, o.problems, o.pairs, o.chosen]

    @property
    def running(self) -> list[Any]:
        """What shows a run."""
        i, o = self.inputs, self.outputs
        return [o.status, o.live, o.loss, o.dice, o.preview, o.timer, o.result, i.start, i.stop, o.seen]

    @property
    def judged(self) -> list[Any]:
        """What shows the comparison."""
        o = self.outputs
        return [o.verdict, o.use, o.table, o.compared]

    def on_files(self, paths: list[str] | None, share: float, request: gr.Request) -> Iterator[Updates]:
        """Files were chosen: check each pair and keep what can be used."""
        uploads = [Path(path) for path in paths or []]
        yield {self.outputs.problems: views.card("working", words.CHECKING)}
        session = self._session(request)
        try:
            problems = session.images.add_files(uploads)
        finally:
            for upload in uploads:
                forget(upload)
        yield {self.inputs.files: None, **self._collection(request, share, problems)}

    def on_drawn(self, drawn: tuple[Any, ...], share: float, request: gr.Request) -> Updates:
        """Outlines were corrected and accepted, or taken back."""
        session = self._session(request)
        problems = session.images.keep_drawn([(one.photo, one.mask) for one in drawn or ()])
        return self._collection(request, share, problems)

    def on_share(self, share: float, request: gr.Request) -> str:
        """Another share is held out."""
        return show.collection(len(self._session(request).images), share)

    def on_learns(self, learns: str) -> Any:
        """Say what learns."""
        return gr.update(info=words.LEARNS_HELP[learns])

    def on_choose(self, event: gr.SelectData, request: gr.Request) -> tuple[Any, str]:
        """A thumbnail was chosen."""
        images = self._session(request).images.images
        if not isinstance(event.index, int) or event.index >= len(images):
            return gr.update(value=words.REMOVE_NONE, interactive=False), ""
        image = images[event.index]
        return gr.update(value=words.REMOVE.format(number=image.number), interactive=True), image.digest

    def on_remove(self, digest: str, share: float, request: gr.Request) -> Updates:
        """Take one photo out."""
        session = self._session(request)
        session.images.remove(digest)
        return self._collection(request, share, [])

    def on_clear(self, share: float, request: gr.Request) -> Updates:
        """Take all photos out."""
        session = self._session(request)
        for image in list(session.images.images):
            session.images.remove(image.digest)
        return self._collection(request, share, [])

    def on_start(
        self,
        own: OwnWeights | None,
        learns: str,
        epochs: float | None,
        minutes: float | None,
        rate: float | None,
        held_out: float,
        request: gr.Request,
    ) -> Updates:
        """Begin a run, or wait for the turn."""
        from dermomamba.learning.finetune_settings import FineTuneSettings

        session, key = self._session(request), str(request.session_hash)
        try:
            session.images.require()
            settings = FineTuneSettings(
                learns,  # type: ignore[arg-type]
                int(epochs or 0),
                60 * minutes if minutes else None,
                float(rate or 0),
                held_out,
            )
            base = self.engine.predictor_for(own).weights
            job = self.sessions.workshop.submit(key, session.images.folder, base, settings)
        except DermoMambaError as problem:
            return {self.outputs.status: views.error(str(problem), words.CANNOT_TITLE)}
        return {
            self.outputs.status: show.progress(job, self.sessions.workshop.place(job)),
            self.outputs.live: gr.update(visible=False),
            self.outputs.result: gr.update(visible=False),
            self.outputs.timer: gr.update(active=True),
            self.outputs.seen: -1,
            self.inputs.start: gr.update(interactive=False),
            self.inputs.stop: gr.update(visible=True, interactive=True),
        }

    def on_stop(self, request: gr.Request) -> Any:
        """End the learning, keep the best."""
        job = self.sessions.workshop.job(str(request.session_hash))
        if job is not None:
            self.sessions.workshop.stop(job)
        return gr.update(interactive=False)

    def on_tick(self, seen: int, request: gr.Request) -> Updates:
        """Show where the run stands; the last tick shows the comparison."""
        i, o = self.inputs, self.outputs
        job = self.sessions.workshop.job(str(request.session_hash))
        idle = {
            o.timer: gr.update(active=False),
            i.start: gr.update(interactive=True),
            i.stop: gr.update(visible=False),
        }
        if job is None:
            return {o.status: views.card("empty", words.GONE), o.live: gr.update(visible=False), **idle}
        if job.state == "failed":
            return {o.status: views.error(job.sentence, words.FAILED_TITLE), o.live: gr.update(visible=False), **idle}
        rows = job.progress.rows
        if job.version == seen and job.state == "learning":
            return {o.timer: gr.skip()}
        live: Updates = {o.live: gr.update(visible=True), **self._curves(rows)} if len(rows) > 1 else {}
        if job.preview is not None:  # also at the end: a short run may be over before the first tick
            photo = render.fit(decode(job.photo_file(job.previewed)), 480)
            picture = render.outline(photo, render.resize_mask(job.preview, *photo.shape[:2]))
            live[o.preview] = gr.update(value=picture, alt_text=words.PREVIEW_ALT)
        if job.state == "done":
            return {o.status: "", **live, **idle, **self._comparison(job)}
        return {o.status: show.progress(job, self.sessions.workshop.place(job)), o.seen: job.version, **live}

    def on_use(self, request: gr.Request) -> Updates:
        """Use the new weights on all tabs of this session."""
        from dermomamba import weights
        from dermomamba.predictor import Predictor

        job = self.sessions.workshop.job(str(request.session_hash))
        if job is None or job.state != "done":
            gr.Info(words.GONE)
            return {self.outputs.use: gr.skip()}
        loaded = weights.load(job.weights_file)
        own = OwnWeights(Predictor(loaded, str(self.engine.predictor().device)), loaded.card["started_from"]["name"])
        used = gr.update(value=words.USED, interactive=False)
        return {self.own: self.sessions.wear(str(request.session_hash), own), self.outputs.use: used}

    def on_back(self, request: gr.Request) -> None:
        """Use the shipped weights again."""
        return self.sessions.wear(str(request.session_hash), None)  # type: ignore[return-value]

    def on_download(self, request: gr.Request) -> tuple[str, bytes] | None:
        """Weights and cards as one ZIP."""
        from dermomamba import weights_archive

        job = self.sessions.workshop.job(str(request.session_hash))
        if job is None or job.state != "done":
            gr.Info(words.GONE)
            return None
        return "dermomamba-fine-tuned.zip", weights_archive.pack(job.weights_file)

    def on_weights(self, paths: list[str] | None, request: gr.Request) -> Updates:
        """Own weights were uploaded: use them in this session."""
        from dermomamba import weights_archive
        from dermomamba.predictor import Predictor

        uploads = [Path(path) for path in paths or []]
        try:
            loaded = weights_archive.unpack(uploads)
            predictor = Predictor(loaded, str(self.engine.predictor().device))
        except DermoMambaError as problem:
            return {self.inputs.weights: None, self.inputs.told: views.error(str(problem), words.OWN_TITLE)}
        finally:
            for upload in uploads:
                forget(upload)
        started = loaded.card.get("started_from")
        base = started.get("name", "") if isinstance(started, dict) else ""
        own = OwnWeights(predictor, str(base)[:60] or loaded.name)
        return {
            self.inputs.weights: None,
            self.own: self.sessions.wear(str(request.session_hash), own),
            self.outputs.use: gr.update(value=words.USE, interactive=True),
        }

    def on_own(self, own: OwnWeights | None) -> Updates:
        """Other weights are in use in this session."""
        name = own.predictor.weights.name if own is not None and own.predictor is not None else ""
        return {
            self.inputs.begin: f'<p class="note">{words.FROM.format(name=name)}</p>' if name else "",
            self.inputs.told: views.card("empty", words.OWN_USED.format(name=name)) if name else "",
            self.outputs.use: gr.skip() if name else gr.update(value=words.USE, interactive=True),
        }

    def _session(self, request: gr.Request) -> Session:
        return self.sessions.of(str(request.session_hash))

    def _collection(self, request: gr.Request, share: float, problems: list[str]) -> Updates:
        session, running = self._session(request), self.sessions.running(str(request.session_hash))
        o, images = self.outputs, session.images.images
        return {
            o.status: gr.skip() if running else "",
            o.count: show.collection(len(images), share),
            o.tidy: gr.update(visible=bool(images)),
            o.remove: gr.update(value=words.REMOVE_NONE, interactive=False),
            o.problems: show.problems(problems),
            o.pairs: gr.update(visible=bool(images), value=show.thumbnails(images), selected_index=None),
            o.chosen: "",
        }

    def _curves(self, rows: Any) -> Updates:
        import pandas as pd

        loss = [(row["epoch"], row["train_loss"]) for row in rows if row["train_loss"] is not None]
        dice = [(row["epoch"], row["val_dice"]) for row in rows]
        return {
            self.outputs.loss: pd.DataFrame(loss, columns=["epoch", "loss"]),
            self.outputs.dice: pd.DataFrame(dice, columns=["epoch", "Dice"]),
        }

    def _comparison(self, job: Any) -> Updates:
        o, found = self.outputs, job.comparison
        scores = zip(found.numbers, found.before, found.after, found.outlines, strict=False)  # the first few are drawn
        pictures = [
            (
                show.compared(decode(job.photo_file(number)), outlines),
                words.COMPARED_CAPTION.format(number=number, before=before, after=after),
            )
            for number, before, after, outlines in scores
        ]
        return {
            o.result: gr.update(visible=True),
            o.verdict: show.verdict(job),
            o.use: gr.update(value=words.USE, interactive=True, visible=bool(job.kept_epoch)),  # else nothing is new
            o.table: show.table(found),
            o.compared: gr.update(visible=True, value=pictures),
        }
