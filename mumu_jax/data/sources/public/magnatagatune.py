"""MagnaTagATune: clips of 29 s with 188 tags, split by the folder that they are stored in.

`annotations_final.csv` is separated by TAB in spite of its name: clip_id, a column of 0 and 1 for each tag, mp3_path.
`full` are all clips, `clean` those of Won et al. 2020's lists: arrays of `row<TAB>mp3_path`.  Synonyms among the tags
are not merged, as in the published results.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mumu_jax.data.sources.dataset import Choice, Dataset, Entry, File, Listing, Subset
from mumu_jax.data.sources.finding import Finding, Report, some
from mumu_jax.data.sources.public.reading import source_of
from mumu_jax.data.sources.public.tables import read_array, read_tsv

CLIP, PATH = "clip_id", "mp3_path"
N_TAGS = 50
FOLDERS = {"train": "0123456789ab", "val": "c", "test": "def"}  # first letters of mp3_path
BROKEN = {"35644": "its file is missing or empty", "55753": "its file is damaged", "57881": "its file is damaged"}
WON = "https://github.com/minzwon/sota-music-tagging-models"


def list_tracks(files: Mapping[str, Path], choice: Choice, report: Report) -> Listing:
    """Return the clips but for the broken ones, with their tags of the 50 most frequent, or with all of them."""
    at, rows = read_tsv(files["annotations"], (CLIP, PATH), report)
    tags = at.keys() - {CLIP, PATH}
    clips = {}
    for _, cells in rows:
        of_clip = tuple(name for name, cell in zip(at, cells, strict=False) if cell == "1" and name in tags)
        clips.setdefault(cells[at[PATH]], []).append((cells[at[CLIP]], of_clip))
    counts = Counter(tag for same in clips.values() for _, of_clip in same for tag in of_clip)
    by_frequency = sorted(counts, key=lambda tag: (-counts[tag], tag))
    kept = {*(by_frequency if choice.subset == "all_tags" else by_frequency[:N_TAGS])}
    is_clean = choice.subset == "clean"
    listed = _clean(files, clips, report) if is_clean else [(path, _split_of(path)) for path in clips]
    entries = []
    for path, split in listed:
        artist = path.rpartition("/")[2].partition("-")[0]
        for clip, of_clip in clips[path]:
            if clip not in BROKEN:
                labels = tuple(tag for tag in of_clip if tag in kept)
                entries.append(Entry(clip, labels, (path,), split, artist))
    return Listing(entries)


def _split_of(path: str) -> str | None:
    return next((split for split, letters in FOLDERS.items() if path[:1] in letters), None)


def _clean(files: Mapping[str, Path], clips: Mapping[str, object], report: Report) -> list[tuple[str, str]]:
    """Return path and split of each clip on the three lists."""
    listed = []
    for split in FOLDERS:
        array = read_array(files[split], report)
        lines = [] if array is None else array.astype(str).tolist()
        paths = [line.partition("\t")[2] for line in lines]
        unknown = [path for path in paths if path not in clips]
        if unknown:
            found = f"{len(unknown):,} others: {some(unknown)}"
            remedy = "take the lists and the annotations from one release"
            report(Finding("warning", files[split], "row<TAB>mp3_path of clips with annotations", found, remedy))
        listed += [(path, split) for path in paths if path in clips]
    return listed


def _files(choice: Choice) -> dict[str, File]:
    annotations = {"annotations": File("the tags of all clips, separated by TAB", ("annotations_final.csv",))}
    if choice.subset != "clean":
        return annotations
    names = {"train": "train", "val": "valid", "test": "test"}
    return annotations | {
        split: File(
            f"the list of clean {split} clips", (f"{name}.npy", f"mtat/{name}.npy", f"split/mtat/{name}.npy"), WON
        )
        for split, name in names.items()
    }


SOURCE = source_of(
    "magnatagatune",
    Dataset(
        title="MagnaTagATune",
        citation="Law et al., Evaluation of Algorithms Using Games: The Case of Music Tagging, ISMIR 2009",
        licence="CC BY-NC-SA 3.0",
        home="https://mirg.city.ac.uk/codeapps/the-magnatagatune-dataset",
        n_tracks=25_863,
        subsets={
            "full": Subset("most frequent tags, all clips", N_TAGS, ((18_706, 1_825, 5_329),)),
            "clean": Subset("most frequent tags, the clips of Won et al. 2020", N_TAGS, ((15_247, 1_529, 4_332),)),
            "all_tags": Subset("tags, all clips", 188, ((18_706, 1_825, 5_329),)),
        },
        files=_files,
        list_tracks=list_tracks,
        audio="get them there as mp3.zip.001 to .003, join these and unpack the folders 0 to f",
        faults=BROKEN,
        keeps_unlabelled=True,
    ),
)
