"""Matching of Amazon's albums with MusicBrainz and the MSD, as MuMu was made (Oramas et al. 2017, section 3)."""
