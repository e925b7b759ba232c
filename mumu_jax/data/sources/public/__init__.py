"""Public data sets, one a file: citation, licence, files, published sizes, and a reader of their tables."""

from mumu_jax.data.sources.public import fma, gtzan, jamendo, magnatagatune, msd_lastfm, msdi, music4all

SOURCES = (
    jamendo.SOURCE,
    magnatagatune.SOURCE,
    fma.SOURCE,
    gtzan.SOURCE,
    music4all.SOURCE,
    msd_lastfm.SOURCE,
    msdi.SOURCE,
)
