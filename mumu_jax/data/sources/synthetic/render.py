"""The sound of a track: a style mixed from its album's genres, played by a small synthesiser."""

import math
from collections.abc import Callable

import numpy as np
from scipy.signal import lfilter

from mumu_jax.data.sources.synthetic.styles import (
    HARMONIES,
    INSTRUMENTS,
    KITS,
    STYLES,
    Beat,
    Instrument,
    Number,
    Part,
    Production,
    Style,
)

SR_HZ = 22_050
DURATION_S = (16.0, 20.0)

# How hard the genres are to hear.  More of any of these and audio alone scores lower.
LEAK = 0.05  # chance that a layer of a section comes from a genre that the album does not have
LEVEL_SD_DB = 2.0  # of a layer's level, from track to track
HISS_SD_DB = 4.0  # of the noise floor, from track to track
TRANSPOSE = 2  # keys lie up to so many semitones around the style's register

LAYERS = ("beat", "bass", "chords", "lead", "production")
TABLE = 2048  # samples in a single-cycle wave
STEPS = 16  # a bar


def render_track(branches: tuple[str, ...], rng: np.random.Generator) -> np.ndarray:
    """Mono float32 samples at SR_HZ in (-1, 1), DURATION_S long: a verse and a chorus of different arrangement."""
    key = int(rng.integers(-TRANSPOSE, TRANSPOSE + 1))
    gains = [_gain(db) for db in rng.normal(0, LEVEL_SD_DB, 4)]
    n_samples = int(rng.uniform(*DURATION_S) * SR_HZ)
    layers = list(rng.permutation(LAYERS))
    sections = []
    for turned in (branches, branches[1:] + branches[:1]):
        style = mix_styles(turned, layers, rng)
        sections.append(_render_section(style, key, gains, n_samples // 2, rng))
    music = np.concatenate(sections)
    return (music * (rng.uniform(0.5, 0.95) / np.abs(music).max())).astype(np.float32)


def mix_styles(branches: tuple[str, ...], layers: list[str], rng: np.random.Generator) -> Style:
    """Deal the layers to the album's branches in turn, so that each is heard; some leak in from elsewhere."""
    donors = {}
    for i, layer in enumerate(layers):
        leaks = rng.random() < LEAK
        donors[layer] = STYLES[str(rng.choice(list(STYLES))) if leaks else branches[i % len(branches)]]
    mixed = {layer: getattr(donor, layer) for layer, donor in donors.items()}
    return Style(donors["chords"].harmony, **mixed)


def _render_section(style: Style, key: int, gains: list[float], n_samples: int, rng: np.random.Generator) -> np.ndarray:
    step_s = 15.0 / rng.uniform(*style.beat.tempo_bpm)
    steps = np.arange(math.ceil(n_samples / SR_HZ / step_s))
    onsets_s = (steps + style.beat.swing * (steps % 2)) * step_s
    layers = (
        _drums(style.beat, onsets_s, n_samples, rng),
        _play(style.bass, _bass_line, style, key, onsets_s, n_samples, rng),
        _play(style.chords, _chord_line, style, key, onsets_s, n_samples, rng),
        _play(style.lead, _lead_line, style, key, onsets_s, n_samples, rng),
    )
    music = np.sum([gain * layer for gain, layer in zip(gains, layers, strict=True)], axis=0)
    return _produce(music, style.production, rng)


def _gain(db: Number) -> float:
    return 10 ** (db / 20)


def _level(layer: np.ndarray, level_db: Number) -> np.ndarray:
    """The layer at a root mean square of `level_db`; one that never plays stays silent."""
    return layer * np.float32(_gain(level_db) / max(float(layer.std()), 1e-3))


def _hits(pattern: str, n_steps: int, rng: np.random.Generator) -> np.ndarray:
    """The steps on which a pattern of x, o and . sounds (any other letter counts as x)."""
    chance = np.resize([{".": 0.0, "o": 0.5}.get(letter, 1.0) for letter in pattern], n_steps)
    return np.flatnonzero(rng.random(n_steps) < chance)


def _add(out: np.ndarray, sound: np.ndarray, at_s: float) -> None:
    start = int(at_s * SR_HZ)
    room = max(0, len(out) - start)
    out[start : start + len(sound)] += sound[:room]


def _drums(beat: Beat, onsets_s: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    kit, t = KITS[beat.kit], np.arange(int(0.5 * SR_HZ), dtype=np.float32) / SR_HZ
    noise = rng.standard_normal(len(t)).astype(np.float32)
    sweep = kit.kick_hz * (t + 0.06 * (1 - np.exp(-t / 0.02)))
    kick = np.sin(2 * np.pi * sweep) * np.exp(-t / kit.kick_s)
    snare = 0.4 * (noise + np.sin(2 * np.pi * kit.snare_hz * t)) * np.exp(-t / kit.snare_s)
    hat = np.diff(noise, prepend=0) * np.exp(-t / kit.hat_s) * _gain(kit.hat_db)
    out = np.zeros(n_samples, np.float32)
    for pattern, sound in ((beat.kick, kick), (beat.snare, snare), (beat.hat, hat)):
        for step in _hits(pattern, len(onsets_s), rng):
            _add(out, sound * np.float32(rng.uniform(0.7, 1.0)), float(onsets_s[step]))
    return _level(out, beat.level_db - 3)


def _near(midi: int, centre: int) -> int:
    """The pitch of the same name that lies nearest to `centre`."""
    return centre + (midi - centre + 6) % 12 - 6


def _bass_line(part: Part, style: Style, key: int, steps: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    """The root; the fifth where the pattern has a 5; any note of the scale where it has a w (walking)."""
    scale, chords = HARMONIES[style.harmony]
    line = []
    for step in steps:
        root = _near(key + chords[step // STEPS % len(chords)][0], part.midi)
        line.append([root + {"5": 7, "w": int(rng.choice(scale))}.get(part.pattern[step % STEPS], 0)])
    return line


def _chord_line(part: Part, style: Style, key: int, steps: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    """The bar's chord, each note in the octave that lies nearest to the part's register."""
    _, chords = HARMONIES[style.harmony]
    chosen = [chords[step // STEPS % len(chords)] for step in steps]
    return [[_near(key + root + interval, part.midi) for interval in intervals] for root, intervals in chosen]


def _lead_line(part: Part, style: Style, key: int, steps: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
    """A random walk on the scale that is drawn back to the register and stays within two octaves of it."""
    scale, _ = HARMONIES[style.harmony]
    reach, home, degree = 2 * len(scale), _near(key, part.midi), 0
    line = []
    for _ in steps:
        back = int(np.sign(degree)) * int(rng.random() < abs(degree) / len(scale))
        degree = int(np.clip(degree + rng.integers(-2, 3) - back, -reach, reach))
        octave, index = divmod(degree, len(scale))
        line.append([home + 12 * octave + scale[index]])
    return line


def _play(
    part: Part,
    compose: Callable[..., list[list[int]]],
    style: Style,
    key: int,
    onsets_s: np.ndarray,
    n_samples: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """One part from beginning to end: `compose` gives the MIDI pitches of each onset.  Equal notes are made once."""
    instrument = INSTRUMENTS[part.instrument]
    steps = _hits(part.pattern, len(onsets_s), rng)
    lengths_s = np.diff(onsets_s[steps], append=n_samples / SR_HZ) * instrument.hold
    phases = rng.uniform(0, 2 * np.pi, TABLE // 2)
    out = np.zeros(n_samples, np.float32)
    notes: dict[tuple[int, float], np.ndarray] = {}
    for step, length, pitches in zip(steps, lengths_s, compose(part, style, key, steps, rng), strict=True):
        length_s = min(round(float(length), 2), 3.0)
        for midi in pitches:
            if (midi, length_s) not in notes:
                notes[midi, length_s] = _note(instrument, midi, length_s, phases)
            _add(out, notes[midi, length_s], float(onsets_s[step]))
    if instrument.drive:
        out = np.tanh(out * (instrument.drive / max(float(np.abs(out).max()), 1e-6)))
    return _level(out, part.level_db)


def _note(instrument: Instrument, midi: int, length_s: float, phases: np.ndarray) -> np.ndarray:
    """Read a single cycle of the instrument's spectrum at the note's pitch, once bright and once mellow."""
    f0 = 440.0 * 2 ** ((midi - 69) / 12)
    k = np.arange(1, min(int(0.45 * SR_HZ / f0), TABLE // 2 - 1) + 1)
    strength = k**-instrument.rolloff * np.where(k % 2 == 0, instrument.even, 1.0)
    if instrument.formants:
        strength *= 0.1 + sum(np.exp(-(((k * f0 - hz) / width) ** 2)) for hz, width in instrument.formants)
    spectrum = np.zeros((2, TABLE // 2 + 1), complex)
    spectrum[0, k], spectrum[1, k] = strength * (k <= 3), strength * (k > 3)
    spectrum *= np.exp(1j * np.append(phases, 0)) / np.sqrt((strength**2).sum())
    mellow, bright = np.fft.irfft(spectrum, axis=1).astype(np.float32) * np.float32(TABLE / 4)
    t = np.arange(int(length_s * SR_HZ), dtype=np.float32) / SR_HZ
    cycles = f0 * t
    if instrument.vibrato_cents:
        cycles = cycles + f0 * instrument.vibrato_cents / 1731 / (2 * np.pi * 5.5) * np.sin(2 * np.pi * 5.5 * t)
    index = (cycles * TABLE).astype(np.int32) & (TABLE - 1)
    wave = mellow[index] + bright[index] * np.exp(-t / np.float32(instrument.mellow_s))
    envelope = instrument.sustain + (1 - instrument.sustain) * np.exp(-t / np.float32(instrument.decay_s))
    release = np.minimum(1, (length_s - t) / 0.02)
    return wave * (envelope * release * (1 - np.exp(-t / np.float32(instrument.attack_s)))).astype(np.float32)


def _produce(music: np.ndarray, production: Production, rng: np.random.Generator) -> np.ndarray:
    """Room as six echoes that fade, drive, low-pass, hiss."""
    music = music / np.abs(music).max()
    wet = music.copy()
    for delay_s in rng.uniform(0.02, 0.2, 6):
        delay = int(delay_s * SR_HZ)
        wet[delay:] += music[:-delay] * _gain(production.room_db) * math.exp(-delay_s / production.room_s)
    driven = np.tanh(wet * (1 + production.drive))
    smooth = math.exp(-2 * math.pi * min(production.lowpass_hz, 0.49 * SR_HZ) / SR_HZ)
    low = lfilter([1 - smooth], [1, -smooth], driven)
    hiss = _gain(production.hiss_db + rng.normal(0, HISS_SD_DB))
    return low + hiss * rng.standard_normal(len(low))
