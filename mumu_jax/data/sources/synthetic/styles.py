"""What each genre sounds like: beat, bass, chords, lead and production, as tables."""

from dataclasses import dataclass

Number = int | float  # the tables below say 8 rather than 8.0

MAJOR, MINOR, POWER, SUS = (0, 4, 7), (0, 3, 7), (0, 7, 12), (0, 5, 7)
MAJOR7, MINOR7, DOMINANT = (0, 4, 7, 11), (0, 3, 7, 10), (0, 4, 7, 10)

# name -> (scale of the lead, the chords of four bars as (root above the key in semitones, intervals))
HARMONIES = {
    "axis": ((0, 2, 4, 7, 9), ((0, MAJOR), (7, MAJOR), (9, MINOR), (5, MAJOR))),
    "ballad": ((0, 2, 4, 5, 7, 9, 11), ((0, MAJOR7), (9, MINOR7), (5, MAJOR7), (7, SUS))),
    "rock": ((0, 3, 5, 7, 10), ((0, MAJOR), (10, MAJOR), (5, MAJOR), (0, MAJOR))),
    "blues": ((0, 3, 5, 6, 7, 10), ((0, DOMINANT), (5, DOMINANT), (0, DOMINANT), (7, DOMINANT))),
    "odd": ((0, 2, 3, 5, 7, 9, 10), ((0, MINOR7), (3, MAJOR7), (8, MAJOR), (2, SUS))),
    "minor": ((0, 2, 3, 7, 8), ((0, MINOR), (0, MINOR), (8, MAJOR), (10, MAJOR))),
    "drone": ((0, 2, 7, 9), ((0, SUS), (0, MAJOR7), (0, SUS), (5, MAJOR7))),
    "turnaround": ((0, 2, 3, 4, 5, 7, 9, 10, 11), ((2, MINOR7), (7, DOMINANT), (0, MAJOR7), (9, DOMINANT))),
    "cowboy": ((0, 2, 4, 7, 9), ((0, MAJOR), (5, MAJOR), (7, MAJOR), (0, MAJOR))),
    "phrygian": ((0, 1, 3, 5, 6, 7, 8), ((0, POWER), (1, POWER), (0, POWER), (6, POWER))),
    "roots": ((0, 3, 5, 7, 10), ((0, MINOR), (5, MINOR), (0, MINOR), (10, MAJOR))),
}


@dataclass(frozen=True)
class Instrument:
    """A timbre.  Times in seconds; `formants` are (centre Hz, width Hz) resonances that do not move with pitch."""

    rolloff: Number  # the k-th partial starts at k ** -rolloff
    attack_s: Number = 0.005
    decay_s: Number = 0.5
    sustain: Number = 0.0  # level that the decay leads to
    mellow_s: Number = 10.0  # in which the partials above the third fade
    even: Number = 1.0  # strength of the even partials
    formants: tuple[tuple[Number, Number], ...] = ()
    vibrato_cents: Number = 0.0
    hold: Number = 1.0  # share of the time to the next onset for which a note sounds
    drive: Number = 0.0  # distortion of the whole part


INSTRUMENTS = {
    "piano": Instrument(1.4, decay_s=0.7, mellow_s=0.25),
    "electric piano": Instrument(2.2, decay_s=0.8, mellow_s=0.1, even=0.3),
    "organ": Instrument(1.0, attack_s=0.02, sustain=0.9, even=0.6, vibrato_cents=8),
    "strings": Instrument(1.1, attack_s=0.15, sustain=0.9, vibrato_cents=12, formants=((500, 400), (1500, 900))),
    "pad": Instrument(1.9, attack_s=0.6, sustain=1.0, vibrato_cents=6),
    "saw": Instrument(0.9, attack_s=0.004, decay_s=0.25, sustain=0.4, hold=0.6),
    "pluck": Instrument(0.8, decay_s=0.12, mellow_s=0.05, hold=0.6),
    "square": Instrument(1.0, attack_s=0.004, sustain=0.8, even=0.05, hold=0.7),
    "clean guitar": Instrument(1.2, decay_s=0.5, mellow_s=0.12, formants=((300, 300), (2400, 1200))),
    "twang": Instrument(0.7, decay_s=0.4, mellow_s=0.2, formants=((2600, 1200),), vibrato_cents=25),
    "overdrive": Instrument(0.9, decay_s=1.2, sustain=0.3, drive=3.0, formants=((700, 600), (2200, 1200))),
    "distortion": Instrument(0.7, decay_s=1.5, sustain=0.6, drive=10.0, formants=((400, 400), (2800, 1800))),
    "banjo": Instrument(0.5, attack_s=0.002, decay_s=0.1, mellow_s=0.08, formants=((900, 700), (3200, 1500))),
    "fiddle": Instrument(0.7, attack_s=0.05, sustain=0.9, vibrato_cents=22, formants=((1100, 500), (3000, 1200))),
    "steel guitar": Instrument(1.3, attack_s=0.06, decay_s=1.5, sustain=0.5, vibrato_cents=35),
    "voice": Instrument(0.9, 0.06, sustain=0.9, vibrato_cents=30, formants=((650, 200), (1150, 250), (2700, 500))),
    "croon": Instrument(1.3, 0.1, sustain=0.9, vibrato_cents=45, formants=((450, 150), (850, 200), (2500, 300))),
    "rap": Instrument(0.6, 0.01, decay_s=0.08, sustain=0.2, hold=0.5, formants=((550, 200), (1600, 300))),
    "growl": Instrument(0.3, 0.02, sustain=0.9, drive=8.0, vibrato_cents=60, formants=((350, 200), (1000, 400))),
    "sax": Instrument(0.8, 0.03, sustain=0.8, vibrato_cents=18, formants=((500, 250), (1300, 500))),
    "trumpet": Instrument(0.5, 0.02, sustain=0.8, vibrato_cents=10, formants=((1200, 600), (2200, 900))),
    "melodica": Instrument(0.6, 0.04, sustain=0.9, even=0.2, formants=((800, 500),)),
    "finger bass": Instrument(1.6, decay_s=0.5, mellow_s=0.1),
    "picked bass": Instrument(0.9, decay_s=0.6, mellow_s=0.2, formants=((900, 600), (100, 150))),
    "upright bass": Instrument(2.0, 0.015, decay_s=0.35, mellow_s=0.06),
    "sub": Instrument(3.5, 0.01, decay_s=1.0, sustain=0.7),
    "acid bass": Instrument(0.8, decay_s=0.15, mellow_s=0.08, hold=0.6, formants=((600, 250),)),
}


@dataclass(frozen=True)
class Kit:
    """A drum kit: pitches in Hz, times of decay in seconds, the hat's level in dB."""

    kick_hz: Number
    kick_s: Number
    snare_hz: Number
    snare_s: Number
    hat_s: Number
    hat_db: Number


KITS = {
    "acoustic": Kit(70, 0.12, 190, 0.09, 0.05, -14),
    "brushes": Kit(85, 0.08, 260, 0.16, 0.12, -12),
    "machine": Kit(50, 0.20, 210, 0.06, 0.03, -10),
    "808": Kit(42, 0.45, 170, 0.12, 0.02, -12),
    "blast": Kit(95, 0.05, 230, 0.07, 0.20, -8),
    "wood": Kit(60, 0.16, 420, 0.03, 0.03, -20),
}


@dataclass(frozen=True)
class Beat:
    """Drums.  Patterns have 16 steps a bar: x always, o every other time, . never."""

    tempo_bpm: tuple[Number, Number]
    kit: str
    kick: str
    snare: str
    hat: str
    level_db: Number = 0.0
    swing: Number = 0.0  # delay of every second step, in steps


@dataclass(frozen=True)
class Part:
    """One instrument playing a pattern around a MIDI pitch: x always, o every other time, . never."""

    instrument: str
    midi: int
    pattern: str
    level_db: Number = 0.0


@dataclass(frozen=True)
class Production:
    """Room (time of decay, s, and its level), hiss below the music (dB), low-pass (Hz), drive of the whole."""

    room_s: Number
    room_db: Number
    hiss_db: Number
    lowpass_hz: Number
    drive: Number


@dataclass(frozen=True)
class Style:
    harmony: str
    production: Production
    beat: Beat
    bass: Part
    chords: Part
    lead: Part


# A genre below another keeps some of its layers, so that the two overlap.
# fmt: off
STYLES = {
    "Pop": Style("axis", Production(0.3, -14, -55, 9000, 0.5),
        Beat((95, 125), "acoustic", "x.......x.o.....", "....x.......x...", "x.x.x.x.x.x.x.x."),
        Part("finger bass", 36, "x.....x.x.....o.", -3), Part("piano", 62, "x...x...x...x...", -6),
        Part("voice", 69, "x.oox.o.x.o.o...")),
    "Vocal Pop": Style("axis", Production(0.3, -14, -55, 9000, 0.5),
        Beat((70, 95), "acoustic", "x.......x.o.....", "....x.......x...", "x.x.x.x.x.x.x.x.", -12),
        Part("upright bass", 43, "x.......x.......", -2), Part("strings", 64, "x.......x.......", -2),
        Part("croon", 62, "x...o...x...o...", 4)),
    "Dance Pop": Style("axis", Production(0.3, -14, -75, 11000, 1.5),
        Beat((112, 128), "machine", "x...x...x...x...", "....x.......x...", "x.x.x.x.x.x.x.x.", 2),
        Part("square", 43, "..x...x...x...x."), Part("saw", 69, "x.x...x.x.x...x.", -4),
        Part("voice", 74, "x.o.x.o.x.o.x.o.", 2)),
    "Adult Contemporary": Style("ballad", Production(0.9, -9, -55, 7000, 0.1),
        Beat((65, 85), "brushes", "x.......x.o.....", "....x.......x...", "x.x.x.x.x.x.x.x.", -8),
        Part("finger bass", 36, "x.....x.x.....o.", -3), Part("electric piano", 69, "x.....x...x.....", 2),
        Part("sax", 72, "x.....o.x.......", 1)),
    "Rock": Style("rock", Production(0.3, -14, -55, 9000, 1.2),
        Beat((110, 145), "acoustic", "x.....x.x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x.", 1),
        Part("picked bass", 36, "x.x.x.x.x.x.x.x.", -2), Part("overdrive", 52, "x..x..x.x..x..x.", -2),
        Part("voice", 65, "x...o.x.....o.x.", -3)),
    "Progressive Rock": Style("odd", Production(0.3, -14, -55, 9000, 1.2),
        Beat((110, 145), "acoustic", "x..x..x..x..x...", "......x.....x..o", "x.x.x.x.x.x.x.x.", 1),
        Part("picked bass", 45, "x..x..x..x..x..x"), Part("organ", 60, "x.....x.....x..."),
        Part("square", 76, "xoxoxoxoxoxoxoxo", -2)),
    "Blues Rock": Style("blues", Production(0.3, -14, -42, 5000, 1.5),
        Beat((75, 110), "acoustic", "x.....x.x.x.....", "....x.......x...", "x.x.x.x.x.x.x.x.", 1, 0.6),
        Part("finger bass", 40, "x.w.w.w.x.w.w.w.", 2), Part("overdrive", 52, "x..x..x.x..x..x.", -2),
        Part("overdrive", 72, "x.o.o.x.o.o.x...", 3)),
    "Surf Rock": Style("rock", Production(0.7, -5, -55, 9000, 0.5),
        Beat((145, 175), "acoustic", "x.....x.x.x.....", "....x.x.....x.x.", "x.x.x.x.x.x.x.x.", 1),
        Part("picked bass", 36, "x.x.x.x.x.x.x.x.", -2), Part("clean guitar", 55, "x.x.x.x.x.x.x.x.", -1),
        Part("twang", 64, "xxooxxooxxooxxoo", 3)),
    "Dance & Electronic": Style("minor", Production(0.5, -14, -75, 11000, 0.5),
        Beat((118, 132), "machine", "x...x...x...x...", "....x.......x...", "..x...x...x...x.", 2),
        Part("acid bass", 38, "..x...x...x...x."), Part("saw", 62, "x..x..x...x..x..", -6),
        Part("square", 74, "x.o.o.x.o.o.x.o.", -8)),
    "Techno": Style("minor", Production(0.5, -14, -75, 11000, 0.5),
        Beat((128, 145), "machine", "x...x...x...x...", "................", "..x...x...x...x.", 5),
        Part("acid bass", 34, "xxx.xx.xxxx.xx.x", 2), Part("saw", 52, "x..x..x..x..x..x", -4),
        Part("pluck", 84, "o..o..o..o..o..o", -4)),
    "House": Style("minor", Production(0.5, -14, -75, 11000, 0.5),
        Beat((118, 132), "machine", "x...x...x...x...", "....x.......x...", "..x...x...x...x.", 2),
        Part("finger bass", 43, "..xo..x...xo..x.", 3), Part("piano", 72, "x..x..x..x..x...", 2),
        Part("voice", 69, "x.......o...o...", -4)),
    "Ambient": Style("drone", Production(1.5, -3, -45, 4000, 0.5),
        Beat((60, 90), "machine", "x...x...x...x...", "....x.......x...", "..x...x...x...x.", -30),
        Part("sub", 36, "x...............", -4), Part("pad", 64, "x...............", 4),
        Part("pad", 79, "o.......o.......")),
    "Jazz": Style("turnaround", Production(0.5, -10, -50, 6000, 0.2),
        Beat((110, 170), "brushes", "o.......o.......", "....o..o....o...", "x...x.x.x...x.x.", -8, 0.6),
        Part("upright bass", 40, "x...w...w...w..."), Part("piano", 62, "..o...x....o..x.", -5),
        Part("sax", 67, "x.o.x.ooo.x.o.oo")),
    "Vocal Jazz": Style("turnaround", Production(0.5, -10, -50, 6000, 0.2),
        Beat((80, 120), "brushes", "o.......o.......", "....o..o....o...", "x...x.x.x...x.x.", -12, 0.6),
        Part("upright bass", 40, "x...w...w...w..."), Part("piano", 62, "..o...x....o..x.", -5),
        Part("croon", 69, "x..oo...x..oo...", 5)),
    "Bebop": Style("turnaround", Production(0.3, -14, -38, 4000, 0.3),
        Beat((200, 260), "brushes", "o.......o.......", "....o..o....o...", "x...x.x.x...x.x.", -4, 0.6),
        Part("upright bass", 47, "x.w.w.w.x.w.w.w.", 2), Part("piano", 62, "..o...x....o..x.", -5),
        Part("trumpet", 77, "x.xxx.x.xxx.xxx.", 5)),
    "Rap & Hip-Hop": Style("minor", Production(0.1, -24, -48, 9000, 0.5),
        Beat((82, 100), "808", "x.....x..ox.....", "....x.......x..o", "x.x.x.xxx.x.x.xo", 3, 0.15),
        Part("sub", 30, "x.....x...x.....", 1), Part("electric piano", 60, "x.......o.......", -12),
        Part("rap", 55, "x.xxxoxxxox.xxox")),
    "Gangsta & Hardcore": Style("minor", Production(0.1, -24, -48, 9000, 0.5),
        Beat((82, 100), "808", "x.....x..ox.....", "....x.......x..o", "xxxxxxxxxxxxxxxx", 4, 0.15),
        Part("sub", 27, "x.x...x...x..x..", 5), Part("strings", 55, "x..x..x.x..x..x.", -5),
        Part("rap", 46, "xxxxxoxxxxxxxxox", 3)),
    "Country": Style("cowboy", Production(0.2, -14, -55, 9000, 0.5),
        Beat((100, 135), "acoustic", "x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x.", -7, 0.2),
        Part("upright bass", 45, "x...5...x...5...", 3), Part("clean guitar", 69, "..x.x.x...x.x.x.", 1),
        Part("twang", 74, "x.o.x.o.x...o.o.")),
    "Classic Country": Style("cowboy", Production(0.2, -14, -42, 4500, 0.5),
        Beat((85, 110), "brushes", "x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x.", -10, 0.2),
        Part("upright bass", 45, "x...5...x...5...", 3), Part("clean guitar", 69, "..x.x.x...x.x.x.", 1),
        Part("steel guitar", 78, "x.....o.x.......", 4)),
    "Bluegrass": Style("cowboy", Production(0.1, -24, -55, 11000, 0.1),
        Beat((130, 160), "acoustic", "x.......x.......", "....x.......x...", "x.x.x.x.x.x.x.x.", -40, 0.2),
        Part("upright bass", 45, "x...5...x...5...", 3), Part("banjo", 72, "xoxxoxxoxxoxxoxx", 4),
        Part("fiddle", 79, "x.xox.xox.xox.xo", 3)),
    "Metal": Style("phrygian", Production(0.3, -20, -55, 10000, 2.5),
        Beat((130, 180), "blast", "x.xxx.x.x.xxx.x.", "....x.......x...", "x...x...x...x...", 2),
        Part("picked bass", 33, "x.xxx.xxx.xxx.xx", -4), Part("distortion", 45, "x.xxx.xxx.xxx.xx", 1),
        Part("overdrive", 74, "x.ooooooo.oooooo", -7)),
    "Death Metal": Style("phrygian", Production(0.3, -20, -55, 10000, 2.5),
        Beat((180, 230), "blast", "xxxxxxxxxxxxxxxx", "x.x.x.x.x.x.x.x.", "x...x...x...x...", 4),
        Part("picked bass", 33, "x.xxx.xxx.xxx.xx", -4), Part("distortion", 38, "xxxxxxxxxxxxxxxx", 2),
        Part("growl", 43, "x.....x...x.....", 3)),
    "Reggae": Style("roots", Production(0.8, -10, -55, 7000, 0.5),
        Beat((68, 88), "wood", "........x.......", "........x.......", "x.x.x.x.x.x.x.xo", -3, 0.25),
        Part("sub", 34, "..x.x..xx...x...", 3), Part("organ", 66, "....x.......x...", -3),
        Part("voice", 64, "x...o...o...x...", -6)),
    "Dub": Style("roots", Production(2, -2, -42, 5000, 0.5),
        Beat((68, 88), "wood", "........x.......", "........x.......", "x.x.x.x.x.x.x.xo", -3, 0.25),
        Part("sub", 30, "x.x..x..x..xx...", 6), Part("organ", 66, "....x.......x...", -3),
        Part("melodica", 74, "o.......o..o....", -2)),
}
# fmt: on
