"""The sound of a track: its genres play at once, each by its row of a table, on a small additive synthesiser.

A voice can be told by its tempo, register, spectrum and beat pattern.  A genre is easy where spectrum and register are
its own, for every frame shows them: Metal, Death Metal, Techno, those of Jazz.  It is hard where it shares them with
its family and differs in what takes seconds to hear, tempo and beat (Pop and Vocal Pop, Rock and Blues Rock), or plays
few and soft notes that others cover (Ambient, Adult Contemporary).  An album on several branches is harder than one on
one: voices cover one another, and all follow the first one's tempo.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from scipy.fft import dct

SR_HZ = 22_050
DURATION_S = (16.0, 20.0)

# How hard the genres are to hear.  More of any of these and audio alone scores lower.
STRAY = 0.10  # chance that a genre drawn from all plays along
LEVEL_SD_DB = 2.0  # of a voice's level, from track to track
SPREAD = 0.05  # of tempo, roll-off and formant, as a share of the table's value
TRANSPOSE = 2  # keys lie up to so many semitones around the style's register

LONGEST_S = 2.5  # of a note
REACH = 3  # steps of the scale that a voice leaves its register by
CYCLE = 2048  # samples of a wave's single cycle, which a note reads at its pitch
SEGMENT = 8192  # samples, a third of a second: about as long as the Million Song Dataset's segments
BANDS_HZ = np.geomspace(60, 10_000, 25)
N_COEFFICIENTS = 12

MAJOR, MINOR, BLUES = (0, 2, 4, 7, 9), (0, 3, 5, 7, 10), (0, 3, 5, 6, 7, 10)
FIFTHS, DARK, CHROMATIC = (0, 7), (0, 1, 3, 6, 7), (0, 2, 3, 5, 7, 9, 10, 11)


@dataclass(frozen=True)
class Style:
    """A genre's voice.  A pattern is a bar of 16 steps, in `notes` x a note and o one every other time."""

    tempo_bpm: float
    midi: int  # register: the pitch about which the notes wander
    scale: tuple[int, ...]  # in semitones above the key
    rolloff: float  # the k-th partial is k ** -rolloff strong
    formant_hz: float  # partials about here are ten times as strong
    decay_s: float  # of a note; one that fades slowly also starts slowly
    hiss_db: float  # against the music
    notes: str
    drums: str  # kick, snare, hat


# fmt: off
STYLES = {
    #                           bpm midi scale   rolloff formant decay hiss  notes               drums
    "Pop":                Style(110, 67, MAJOR,     1.1, 1000, 0.30, -45, "x.oox.o.x.o.o...", "k.h.s.h.k.h.s.h."),
    "Vocal Pop":          Style( 82, 60, MAJOR,     1.5,  700, 1.00, -45, "x...o...x...o...", "k.......s......."),
    "Dance Pop":          Style(120, 74, MAJOR,     0.8, 1600, 0.20, -55, "x.o.x.o.x.o.x.o.", "k.h.k.h.k.h.k.h."),
    "Adult Contemporary": Style( 72, 86, MAJOR,     0.9, 2400, 0.60, -50, "x..x..x...x..x..", "h...h...h...h..."),
    "Rock":               Style(128, 52, MINOR,     0.7,  900, 0.35, -40, "x.x.x.x.x.x.x.x.", "k.h.s.hkk.h.s.h."),
    "Progressive Rock":   Style(128, 62, CHROMATIC, 0.9, 1200, 0.45, -45, "x..x..x..x..x.x.", "k..h..s..h..k.h."),
    "Blues Rock":         Style( 90, 57, BLUES,     0.6,  700, 0.50, -22, "x.o.o.x.o.o.x...", "k.h.s.hkk.h.s.h."),
    "Surf Rock":          Style(160, 69, MINOR,     0.7, 2600, 0.12, -40, "xxooxxooxxooxxoo", "k.h.s.s.k.h.s.s."),
    "Dance & Electronic": Style(125, 62, MINOR,     0.6, 1500, 0.15, -60, "x..x..x...x..x..", "k.h.k.h.k.h.k.h."),
    "Techno":             Style(138, 40, FIFTHS,    0.5,  800, 0.07, -60, "xxx.xx.xxxx.xx.x", "k.h.k.h.k.h.k.h."),
    "House":              Style(122, 60, MINOR,     1.4, 1000, 0.40, -50, "..x..x..x..x.x..", "k.h.k.h.k.h.k.h."),
    "Ambient":            Style( 62, 74, FIFTHS,    2.2,  400, 2.50, -24, "x.......x.......", "................"),
    "Jazz":               Style(140, 65, CHROMATIC, 1.0, 1300, 0.30, -42, "x.o.x.oox.o.x.oo", "h..hh..hh..hh..h"),
    "Vocal Jazz":         Style(100, 60, CHROMATIC, 1.4,  700, 0.80, -42, "x..oo...x..oo...", "h..hh..hh..hh..h"),
    "Bebop":              Style(220, 76, CHROMATIC, 0.6, 1800, 0.15, -35, "x.xxx.x.xxx.xxx.", "h..hh..hh..hh..h"),
    "Rap & Hip-Hop":      Style( 90, 52, DARK,      0.9, 1600, 0.06, -48, "x.xxxoxxxox.xxox", "k..h.hs.h.kh.hs."),
    "Gangsta & Hardcore": Style( 90, 43, DARK,      0.7, 1600, 0.06, -42, "xxxxxoxxxxxxxxox", "khhhshhhkhkhshhh"),
    "Country":            Style(116, 69, MAJOR,     0.9, 2200, 0.35, -48, "..x.x.x...x.x.x.", "k...s...k...s..."),
    "Classic Country":    Style( 96, 72, MAJOR,     1.2, 2200, 0.70, -36, "x.....o.x.......", "k...s...k...s..."),
    "Bluegrass":          Style(146, 76, MAJOR,     0.4, 3600, 0.10, -50, "xxoxxxoxxxoxxxox", "k.......k......."),
    "Metal":              Style(150, 45, DARK,      0.1, 3200, 0.30, -24, "x.xxx.xxx.xxx.xx", "k.hks.h.k.hks.h."),
    "Death Metal":        Style(200, 38, DARK,      0.2, 1000, 0.30, -28, "xxxxxxxxxxxxxxxx", "ksksksksksksksks"),
    "Reggae":             Style( 76, 64, MINOR,     1.3,  800, 0.12, -50, "....x.......x...", "h...h...k...h..."),
    "Dub":                Style( 76, 52, MINOR,     1.9,  400, 0.60, -34, "....x.......x..o", "h...h...k...h..."),
}
# fmt: on


def render_track(
    branches: tuple[str, ...],
    rng: np.random.Generator,
    duration_s: tuple[float, float] = DURATION_S,
    stray_chances: tuple[float, ...] = (STRAY,),
) -> Float32[np.ndarray, " samples"]:
    """Return mono samples at SR_HZ in (-1, 1), as long as a draw from `duration_s`.

    All branches play at once.  Of as many sections as there are chances, each may have a stray one, too.
    """
    n_samples = int(rng.uniform(*duration_s) * SR_HZ)
    key = int(rng.integers(-TRANSPOSE, TRANSPOSE + 1))
    step_s = 15 / (STYLES[branches[0]].tempo_bpm * rng.uniform(1 - SPREAD, 1 + SPREAD))
    starts = np.arange(0, n_samples, step_s * SR_HZ).astype(int)
    strays = [str(rng.choice(list(STYLES))) if rng.random() < chance else None for chance in stray_chances]
    music = np.zeros(n_samples, np.float32)
    sections = np.array_split(music, len(strays))
    for branch, part in [*((branch, music) for branch in branches), *zip(strays, sections, strict=True)]:
        if branch is not None:
            voice = _play(STYLES[branch], key, starts, n_samples, rng)
            part += (voice * np.float32(10 ** (rng.normal(0, LEVEL_SD_DB) / 20) / voice.std()))[: len(part)]
    return music * np.float32(rng.uniform(0.5, 0.95) / np.abs(music).max())


def _play(style: Style, key: int, starts: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Return one voice: notes that wander over the scale and drums, by their patterns, over hiss."""
    rolloff, formant_hz = rng.uniform(1 - SPREAD, 1 + SPREAD, 2) * (style.rolloff, style.formant_hz)
    phases = rng.uniform(0, 2 * np.pi, CYCLE // 2)
    octaves, tones = np.divmod(np.arange(-REACH, REACH + 1), len(style.scale))
    pitches = style.midi + key + 12 * octaves + np.take(style.scale, tones)
    ladder = [_note(midi, rolloff, formant_hz, style.decay_s, phases) for midi in pitches.tolist()]
    noise = rng.standard_normal(SR_HZ, np.float32)
    drums = _drums(noise)
    voice, at = np.zeros(n_samples + int(LONGEST_S * SR_HZ), np.float32), REACH
    for step, start in enumerate(starts):
        note, drum = style.notes[step % 16], style.drums[step % 16]
        if note == "x" or (note == "o" and rng.random() < 0.5):
            at = int(np.clip(at + rng.integers(-2, 3), 0, 2 * REACH))
            voice[start : start + len(ladder[at])] += ladder[at]
        if drum != ".":
            voice[start : start + len(drums[drum])] += drums[drum]
    hiss = np.float32(voice.std() * 10 ** (style.hiss_db / 20))
    return voice[:n_samples] + hiss * np.resize(noise, n_samples)


def _note(midi: int, rolloff: float, formant_hz: float, decay_s: float, phases: np.ndarray) -> np.ndarray:
    """Add up the partials of one cycle, and read it at the note's pitch until it has faded."""
    f0 = 440.0 * 2 ** ((midi - 69) / 12)
    k = np.arange(1, min(int(0.45 * SR_HZ / f0), CYCLE // 2 - 1) + 1)
    strength = k**-rolloff * (0.1 + np.exp(-(((k * f0 / formant_hz - 1) / 0.6) ** 2)))
    spectrum = np.zeros(CYCLE // 2 + 1, complex)
    spectrum[k] = strength / np.linalg.norm(strength) * np.exp(1j * phases[k])
    cycle = np.fft.irfft(spectrum).astype(np.float32) * np.float32(CYCLE / 4)
    t = np.arange(int(min(4 * decay_s, LONGEST_S) * SR_HZ), dtype=np.float32) / SR_HZ
    envelope = np.exp(t / np.float32(-decay_s)) * np.minimum(1, t / np.float32(0.002 + 0.1 * decay_s))
    return cycle[(t * np.float32(f0 * CYCLE)).astype(np.int32) % CYCLE] * envelope


def _drums(noise: np.ndarray) -> dict[str, np.ndarray]:
    """Return a kick, whose pitch falls, a snare and a hat."""
    t = np.arange(int(0.3 * SR_HZ), dtype=np.float32) / SR_HZ
    noise = noise[: len(t)]
    return {
        "k": np.sin(2 * np.pi * 60 * (t - 0.06 * np.exp(-t / 0.02))) * np.exp(-t / 0.1),
        "s": 0.3 * noise * np.exp(-t / 0.08),
        "h": 0.2 * np.diff(noise, prepend=0) * np.exp(-t / 0.04),
    }


def segments_timbre(samples: Float[np.ndarray, " samples"]) -> Float[np.ndarray, "segments 12"]:
    """Return a segment's cepstrum of logarithmic bands, in dB: as that dataset's, a few numbers from coarse to fine."""
    segments = samples[: len(samples) // SEGMENT * SEGMENT].reshape(-1, SEGMENT)
    power = np.abs(np.fft.rfft(segments * np.hanning(SEGMENT))) ** 2
    edges = np.searchsorted(np.fft.rfftfreq(SEGMENT, 1 / SR_HZ), BANDS_HZ)
    bands = np.add.reduceat(power, edges, axis=1)[:, :-1]
    return np.asarray(dct(10 * np.log10(bands + 1e-6), norm="ortho", axis=1))[:, :N_COEFFICIENTS]
