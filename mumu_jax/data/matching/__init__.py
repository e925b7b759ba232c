"""How MuMu was made (Oramas et al. 2017, section 3): Amazon's albums, found again in MusicBrainz and in the MSD."""
