"""The type checker that tests run the package under: annotations with shapes hold at run time, ints pass for floats."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
