"""Images that live in the repository: their folders are written out for the local target, revision by revision."""

from __future__ import annotations

import shutil

from customhouse.app.configuration import Configuration
from customhouse.app.settings import Settings
from customhouse.app.wiring import image_folder
from customhouse.control.source import RevisionReader


def export_images(source: RevisionReader, revision: str, configuration: Configuration, settings: Settings) -> None:
    """Write the folder of every image that customhouse.yaml names, as it is at `revision`.

    The target verifies each folder against the pinned digest before it runs anything in it; a folder that a revision
    does not have is removed, so that nothing old is run. Raises SourceError.
    """
    for image, folder in configuration.images.items():
        place = image_folder(settings, image)
        draft = place.with_name(place.name + ".new")
        old = place.with_name(place.name + ".old")
        for leftover in (draft, old):
            shutil.rmtree(leftover, ignore_errors=True)
        if source.files(revision, folder.strip("/") + "/"):
            source.export(revision, folder, draft)
        if place.exists():
            place.rename(old)
        if draft.exists():
            draft.rename(place)
        shutil.rmtree(old, ignore_errors=True)
