"""A machine on which little is installed: a program that runs a module of the package there, as `python -m` does."""

# What the package needs elsewhere, and a bare machine does not have; benchmarks/README.md lists what it has.
BARE = """
import runpy, sys
HIDDEN = {"grain", "tensorflow_datasets", "array_record", "librosa", "soundfile", "soxr", "numba", "PIL", "sklearn",
          "ml_collections", "tensorboardX", "torch", "pandas"}

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"{name} is not on a bare machine", name=name)

sys.meta_path.insert(0, Hide())
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""
