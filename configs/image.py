"""Networks on covers: ResNet-101 of Oramas et al. 2017, Table 2, and the album-cover study of Greenfield & Paintsil."""

from mumu_jax.config import AugmentSettings, Config, LoopSettings, ModelSettings, OptimSettings, TargetSettings
from mumu_jax.experiments import Experiment, Paper, Study, names_of

# The paper has it with logistic targets, and names cosine as future work.  "1.7M" fits no count of this network.
PAPER = {"logistic": Paper("1.7M", 4009, 0.743, (0.06, 0.15, 0.27)), "cosine": None}

# The authors' image code: fb.resnet.torch with this learning rate and batch; all weights and biases decay.
FINE_TUNING = {"algorithm": "sgd", "learning_rate": 1e-4, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 50}

CHUNK_STEPS = 4  # such steps are long, and the host acts between chunks

STUDY = {
    # family        accuracy within 1, 3, 5
    "alexnet": (0.0578, 0.1700, 0.2822),
    "densenet201": (0.3144, 0.5472, 0.6700),
    "vit_b16": (0.3300, 0.5506, 0.6689),
}
# "The last three layers", "the last two encoder layers" and, of AlexNet, "the last layer": these train, as we read it.
TRAINABLE = {
    "alexnet": "output",
    "densenet201": "denseblock4_denselayer(30|31|32)/|norm5|output",
    "vit_b16": r"encoder_layer_(10|11)/|^ln/|output",
}
# The study's own for DenseNet-201 and ViT-B/16, and ViT-B/16's 20 epochs.  DenseNet's epochs and both batch sizes are
# choices; so is all that AlexNet's SGD (0.01, momentum 0.9, batches of 10) leaves open: Nesterov's form, early
# stopping, torchvision's dropout, whole images in training (and, as everywhere, their centres after it).
ADAMW = {"algorithm": "adamw", "learning_rate": 1e-4, "weight_decay": 1e-2, "batch_size": 32}
EPOCHS = {"max_epochs": 20, "patience": 20}
OPTIM = {
    "alexnet": {"algorithm": "sgd", "learning_rate": 0.01, "momentum": 0.9, "batch_size": 10},
    "densenet201": {**ADAMW, **EPOCHS, "decay_epochs": 3},
    "vit_b16": {**ADAMW, **EPOCHS},
}
# "Cropping, horizontal flipping and rotation", of unknown extent: these are choices.  Colours made all of it worse.
CROP_FLIP_ROTATE = AugmentSettings(min_area=0.5, colour=0.0, lighting=0.0, rotation_deg=15.0)
PLAIN = AugmentSettings(min_area=1.0, colour=0.0, lighting=0.0, flip=False)


def _resnet(name: str, target: str) -> Experiment:
    config = Config(
        name=name,
        modality="image",
        model=ModelSettings(family="resnet"),
        target=TargetSettings(kind=target),
        optim=OptimSettings(**FINE_TUNING),
        loop=LoopSettings(chunk_steps=CHUNK_STEPS),
    )
    return Experiment(config, PAPER[target])


def _study(family: str) -> Experiment:
    config = Config(
        name=f"covers_{family}",
        modality="image",
        model=ModelSettings(family=family, dropout=0.5 if family == "alexnet" else 0.7, trainable=TRAINABLE[family]),
        target=TargetSettings(kind="softmax"),
        optim=OptimSettings(**OPTIM[family]),
        loop=LoopSettings(chunk_steps=CHUNK_STEPS),
        augment=PLAIN if family == "alexnet" else CROP_FLIP_ROTATE,
    )
    return Experiment(config, study=Study(STUDY[family]))


EXPERIMENTS = [
    *(_resnet(name, target) for target in PAPER for name in names_of("image_resnet101", target, "logistic")),
    *map(_study, STUDY),
]
