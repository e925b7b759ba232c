"""The reviews: which albums have a text, and what of the file cannot be read."""

from collections.abc import Collection

from mumu_jax.data.preparation.diagnosis.fault import MUMU, Fault, of_error, of_rejected, some
from mumu_jax.data.sources.mumu.first_bytes import other_than_data
from mumu_jax.data.sources.mumu.rejections import Rejections
from mumu_jax.data.sources.mumu.release import REVIEWS, Release
from mumu_jax.data.sources.mumu.reviews import read_reviews
from mumu_jax.errors import UserError


def check_reviews(release: Release, albums: Collection[str]) -> tuple[frozenset[str], list[Fault]]:
    """The albums that have a text, and what is wrong with the file."""
    path = release.reviews
    if path is None:
        remedy = f"fetch it, or do without text; {MUMU}"
        return frozenset(), [Fault("warning", release.root / REVIEWS, "the reviews of the albums", "no file", remedy)]
    if other := other_than_data(path):
        return frozenset(), [Fault("error", path, "reviews as JSON", other, f"copy the file again; {MUMU}")]
    rejections = Rejections()
    try:
        reviews = read_reviews(path, albums, 1, rejections.of(path))
    except UserError as error:
        return frozenset(), [of_error(path, "reviews as JSON", error)]
    faults = of_rejected(rejections.lines, "each review once")
    if reviews.n_of_others:
        found = f"{reviews.n_of_others:,} of others, beside {reviews.counts.total():,}"
        severity = "note" if reviews.texts else "warning"
        faults.append(Fault(severity, path, "reviews of the data set's albums", found, "nothing: they are passed over"))
    if without := [album_id for album_id in albums if album_id not in reviews.texts]:
        found = f"none for {len(without):,} of {len(albums):,}: {some(without)}"
        severity = "note" if reviews.texts else "warning"
        faults.append(
            Fault(severity, path, "a text for every album", found, "nothing: text is learned from the others")
        )
    return frozenset(reviews.texts), faults
