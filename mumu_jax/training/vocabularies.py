"""The tags of the public collections that published networks were trained on, in the order of their outputs."""

VOCABULARIES = {
    # The Million Song Dataset's 50 most frequent tags of Last.fm.
    "msd": (
        *("rock", "pop", "alternative", "indie", "electronic", "female vocalists", "dance", "00s", "alternative rock"),
        *("jazz", "beautiful", "metal", "chillout", "male vocalists", "classic rock", "soul", "indie rock", "Mellow"),
        *("electronica", "80s", "folk", "90s", "chill", "instrumental", "punk", "oldies", "blues", "hard rock"),
        *("ambient", "acoustic", "experimental", "female vocalist", "guitar", "Hip-Hop", "70s", "party", "country"),
        *("easy listening", "sexy", "catchy", "funk", "electro", "heavy metal", "Progressive rock", "60s", "rnb"),
        *("indie pop", "sad", "House", "happy"),
    ),
    # MagnaTagATune's 50 most frequent tags.
    "mtat": (
        *("guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano"),
        *("ambient", "beat", "violin", "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals"),
        *("no vocals", "harpsichord", "loud", "quiet", "flute", "woman", "male vocal", "no vocal", "pop", "soft"),
        *("sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance", "male voice", "female vocal"),
        *("beats", "harp", "cello", "no voice", "weird", "country", "metal", "female voice", "choral"),
    ),
    # MTG-Jamendo's top 50: genres, instruments, moods and themes, each alphabetical; Won's files have this order.
    "jamendo": (
        *("alternative", "ambient", "atmospheric", "chillout", "classical", "dance", "downtempo", "easylistening"),
        *("electronic", "experimental", "folk", "funk", "hiphop", "house", "indie", "instrumentalpop", "jazz"),
        *("lounge", "metal", "newage", "orchestral", "pop", "popfolk", "poprock", "reggae", "rock", "soundtrack"),
        *("techno", "trance", "triphop", "world", "acousticguitar", "bass", "computer", "drummachine", "drums"),
        *("electricguitar", "electricpiano", "guitar", "keyboard", "piano", "strings", "synthesizer", "violin"),
        *("voice", "emotional", "energetic", "film", "happy", "relaxing"),
    ),
}
