"""The catalog of architectures a bundle card may name. Importing it imports no torch; building a network does.

Arguments, as a card and a recipe give them (a TOML table):

- ``multitask-unet``: ``encoder``, ``decoder_channels``, ``classes``, ``masks``, ``dropout``.
- ``qu-ex-unet``, ``qu-ex-unetplusplus``, ``qu-ex-fpn``: ``encoder`` (``resnet18``, ``resnet50``, ``densenet121``,
  ``densenet161``, ``inceptionv4``) and ``output`` (``lung``, ``infection``).
- ``inflocnet-lung-class`` and ``inflocnet-infection``: none.
- ``inflocnet-unet``, ``inflocnet-unetplusplus``: ``output``, which is ``lung`` (with the class head, as the paper's
  Table 5 has it) or ``infection``; ``transfer``, true on a VGG16 encoder and false on a plain one.
- ``hybrid-unet``, ``hybrid-linknet``, ``hybrid-fpn``: ``encoder`` (``vgg16``, ``seresnext50``, ``inceptionresnetv2``,
  ``mobilenetv2``, ``efficientnetb2``), by default the one of the paper's ensemble. All give ``lung``.
- ``hybrid-coatnet``: ``rows`` and ``columns`` of its input (256), since its attention is over a fixed grid.
- ``hybrid-classifier``: ``encoder`` (``xception``, ``resnet50``, ``inceptionresnetv2``).
- ``amalgam``: ``encoders``, by default both, ``["mobilenetv2", "inceptionresnetv2"]``; one alone is the paper's rival.
  ``output``, by default ``lung``.
- ``pneumonia-deeplabv3``, ``pneumonia-segnet``: ``output``, by default ``infection``.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from cxrlib.errors import BundleError
from cxrlib.models.architectures.architecture import Architecture, Variant

_QU_EX: Final = "Lung and infection segmentation, parallel or cascaded"
_MASKS: Final = ("lung", "infection")

CATALOG: Final[Mapping[str, Architecture]] = {
    entry.name: entry
    for entry in (
        Architecture(
            name="multitask-unet",
            paper="ours",
            system="Default bundle",
            description="One light encoder, one U-Net decoder for lung and infection, one class head: one pass a film.",
            outputs=("lung", "infection", "classes"),
            builder="cxrlib.models.architectures.multitask:build",
            side=256,
            variants=(
                Variant("EfficientNet-Lite0", {"encoder": "tu-tf_efficientnet_lite0"}, 5_198_693, recipe="default"),
            ),
        ),
        Architecture(
            name="qu-ex-unet",
            paper="qu-ex",
            system=_QU_EX,
            description="U-Net on one of five ImageNet encoders; one mask.",
            outputs=_MASKS,
            builder="cxrlib.models.architectures.qu_ex:build_unet",
            side=256,
            variants=(
                Variant(
                    "ResNet18",
                    {"encoder": "resnet18", "output": "infection"},
                    14_321_826,
                    Decimal("14.32"),
                    recipe="qu-ex-resnet18",
                ),
                Variant("ResNet50", {"encoder": "resnet50", "output": "infection"}, 32_514_722, Decimal("32.5")),
                Variant("DenseNet121", {"encoder": "densenet121", "output": "infection"}, 13_601_250, Decimal("13.60")),
                Variant("DenseNet161", {"encoder": "densenet161", "output": "infection"}, 38_728_802, Decimal("38.73")),
                Variant("InceptionV4", {"encoder": "inceptionv4", "output": "infection"}, 48_791_234, Decimal("48.79")),
            ),
        ),
        Architecture(
            name="qu-ex-unetplusplus",
            paper="qu-ex",
            system=_QU_EX,
            description="U-Net++ on one of five ImageNet encoders; one mask. On DenseNet121 the best infection.",
            outputs=_MASKS,
            builder="cxrlib.models.architectures.qu_ex:build_unetplusplus",
            side=256,
            variants=(
                Variant(
                    "DenseNet121",
                    {"encoder": "densenet121", "output": "infection"},
                    30_065_890,
                    Decimal("30.06"),
                    recipe="qu-ex",
                ),
                Variant("ResNet18", {"encoder": "resnet18", "output": "infection"}, 15_964_066, Decimal("15.96")),
                Variant("ResNet50", {"encoder": "resnet50", "output": "infection"}, 48_979_362, Decimal("48.97")),
                Variant("DenseNet161", {"encoder": "densenet161", "output": "infection"}, 79_046_882, Decimal("79.04")),
                Variant("InceptionV4", {"encoder": "inceptionv4", "output": "infection"}, 59_356_610, Decimal("59.35")),
            ),
        ),
        Architecture(
            name="qu-ex-fpn",
            paper="qu-ex",
            system=_QU_EX,
            description="Feature pyramid on one of five ImageNet encoders; one mask. On DenseNet121 the best lung.",
            outputs=_MASKS,
            builder="cxrlib.models.architectures.qu_ex:build_fpn",
            side=256,
            variants=(
                Variant(
                    "DenseNet121",
                    {"encoder": "densenet121", "output": "lung"},
                    9_294_338,
                    Decimal("9.29"),
                    recipe="qu-ex",
                ),
                Variant(
                    "ResNet18",
                    {"encoder": "resnet18", "output": "lung"},
                    13_041_858,
                    Decimal("13.04"),
                    recipe="qu-ex-resnet18",
                ),
                Variant("ResNet50", {"encoder": "resnet50", "output": "lung"}, 26_110_658, Decimal("26.11")),
                Variant(
                    "DenseNet161",
                    {"encoder": "densenet161", "output": "lung"},
                    29_489_282,
                    Decimal("29.49"),
                    recipe="qu-ex-cascaded",
                ),
                Variant("InceptionV4", {"encoder": "inceptionv4", "output": "lung"}, 43_570_914, Decimal("43.57")),
            ),
        ),
        Architecture(
            name="inflocnet-lung-class",
            paper="inflocnet",
            system="Segmentation-classification network",
            description="VGG16 encoder, slimmed U-Net++ skip paths, class head on the centre: lung and class together.",
            outputs=("lung", "classes"),
            builder="cxrlib.models.architectures.inflocnet:build_lung_class",
            side=128,
            variants=(Variant("", {}, 27_802_948, Decimal("28.132805"), recipe="inflocnet"),),
            localisation_layer="features",
            counts_statistics=True,
        ),
        Architecture(
            name="inflocnet-infection",
            paper="inflocnet",
            system="Infection region segmentation network",
            description="The same network without its class head.",
            outputs=("infection",),
            builder="cxrlib.models.architectures.inflocnet:build_infection",
            side=128,
            variants=(Variant("", {}, 25_786_113, Decimal("26.165825"), recipe="inflocnet"),),
            counts_statistics=True,
        ),
        Architecture(
            name="inflocnet-unet",
            paper="inflocnet",
            system="Rival U-Net, with and without transfer",
            description="U-Net on a plain or a VGG16 encoder, with the class head where it gives the lung.",
            outputs=("lung", "infection", "classes"),
            builder="cxrlib.models.architectures.inflocnet_rivals:build_unet",
            side=128,
            variants=(
                Variant(
                    "with transfer, lung and class",
                    {"output": "lung", "transfer": True},
                    22_194_500,
                    Decimal("21.821637"),
                ),
                Variant(
                    "with transfer, infection",
                    {"output": "infection", "transfer": True},
                    20_177_665,
                    Decimal("19.854657"),
                ),
                Variant(
                    "no transfer, lung and class",
                    {"output": "lung", "transfer": False},
                    34_243_204,
                    Decimal("29.837267"),
                ),
                Variant(
                    "no transfer, infection",
                    {"output": "infection", "transfer": False},
                    27_917_057,
                    Decimal("27.887169"),
                ),
            ),
            counts_statistics=True,
        ),
        Architecture(
            name="inflocnet-unetplusplus",
            paper="inflocnet",
            system="Rival U-Net++, with and without transfer",
            description="U-Net++ on a plain or a VGG16 encoder, with the class head where it gives the lung.",
            outputs=("lung", "infection", "classes"),
            builder="cxrlib.models.architectures.inflocnet_rivals:build_unetplusplus",
            side=128,
            variants=(
                Variant(
                    "with transfer, lung and class",
                    {"output": "lung", "transfer": True},
                    32_157_380,
                    Decimal("34.107525"),
                ),
                Variant(
                    "with transfer, infection",
                    {"output": "infection", "transfer": True},
                    30_140_545,
                    Decimal("30.140545"),
                ),
                Variant(
                    "no transfer, lung and class",
                    {"output": "lung", "transfer": False},
                    42_970_372,
                    Decimal("42.970501"),
                ),
                Variant(
                    "no transfer, infection",
                    {"output": "infection", "transfer": False},
                    36_644_225,
                    Decimal("36.644225"),
                ),
            ),
            counts_statistics=True,
        ),
        Architecture(
            name="hybrid-unet",
            paper="hybrid",
            system="Lung segmentation",
            description="U-Net, in the ensemble on InceptionResNetV2.",
            outputs=("lung",),
            builder="cxrlib.models.architectures.hybrid:build_unet",
            side=256,
            variants=(
                Variant(
                    "InceptionResNetV2, of the ensemble", {"encoder": "inceptionresnetv2"}, 62_028_721, recipe="hybrid"
                ),
                Variant("VGG16", {"encoder": "vgg16"}, 23_747_089),
                Variant("SE-ResNeXt50", {"encoder": "seresnext50"}, 34_517_697),
                Variant("MobileNetV2", {"encoder": "mobilenetv2"}, 6_628_369),
                Variant("EfficientNet-B2", {"encoder": "efficientnetb2"}, 10_045_715),
            ),
        ),
        Architecture(
            name="hybrid-linknet",
            paper="hybrid",
            system="Lung segmentation",
            description="LinkNet, in the ensemble on SE-ResNeXt50.",
            outputs=("lung",),
            builder="cxrlib.models.architectures.hybrid:build_linknet",
            side=256,
            variants=(
                Variant("SE-ResNeXt50, of the ensemble", {"encoder": "seresnext50"}, 33_174_369, recipe="hybrid"),
                Variant("VGG16", {"encoder": "vgg16"}, 15_977_345),
                Variant("InceptionResNetV2", {"encoder": "inceptionresnetv2"}, 59_445_089),
                Variant("MobileNetV2", {"encoder": "mobilenetv2"}, 4_319_283),
                Variant("EfficientNet-B2", {"encoder": "efficientnetb2"}, 7_892_179),
            ),
        ),
        Architecture(
            name="hybrid-fpn",
            paper="hybrid",
            system="Lung segmentation",
            description="Feature pyramid, in the ensemble on EfficientNet-B2.",
            outputs=("lung",),
            builder="cxrlib.models.architectures.hybrid:build_fpn",
            side=256,
            variants=(
                Variant("EfficientNet-B2, of the ensemble", {"encoder": "efficientnetb2"}, 9_465_027, recipe="hybrid"),
                Variant("VGG16", {"encoder": "vgg16"}, 16_797_633),
                Variant("SE-ResNeXt50", {"encoder": "seresnext50"}, 28_113_009),
                Variant("InceptionResNetV2", {"encoder": "inceptionresnetv2"}, 56_734_049),
                Variant("MobileNetV2", {"encoder": "mobilenetv2"}, 4_215_233),
            ),
        ),
        Architecture(
            name="hybrid-coatnet",
            paper="hybrid",
            system="Classifier of the lung-masked film",
            description="CoAtNet-0: convolution, then attention; Grad-CAM localises what it saw.",
            outputs=("classes",),
            builder="cxrlib.models.architectures.hybrid_classifier:build_coatnet",
            side=256,
            variants=(Variant("CoAtNet-0", {"rows": 256, "columns": 256}, 24_285_583, recipe="hybrid"),),
            localisation_layer="features",
        ),
        Architecture(
            name="hybrid-classifier",
            paper="hybrid",
            system="Rival classifiers",
            description="Xception, ResNet50 or InceptionResNetV2 of the paper's Table 4.",
            outputs=("classes",),
            builder="cxrlib.models.architectures.hybrid_classifier:build_classifier",
            side=256,
            variants=(
                Variant("Xception", {"encoder": "xception"}, 20_812_523),
                Variant("ResNet50", {"encoder": "resnet50"}, 23_507_907),
                Variant("InceptionResNetV2", {"encoder": "inceptionresnetv2"}, 54_310_499),
            ),
            localisation_layer="features",
        ),
        Architecture(
            name="amalgam",
            paper="amalgam",
            system="Lung segmentation",
            description="U-Net whose encoder stacks MobileNetV2 and InceptionResNetV2 at each scale.",
            outputs=_MASKS,
            builder="cxrlib.models.architectures.amalgam:build",
            side=256,
            variants=(
                Variant("both encoders", {}, 67_489_857, recipe="amalgam"),
                Variant("MobileNetV2 alone", {"encoders": ["mobilenetv2"]}, 6_628_369),
                Variant("InceptionResNetV2 alone", {"encoders": ["inceptionresnetv2"]}, 62_028_721),
            ),
        ),
        Architecture(
            name="pneumonia-deeplabv3",
            paper="pneumonia-seg",
            system="Pneumonia regions, the better of two",
            description="DeepLabV3 on ResNet50: dilated convolutions and a pyramid of them.",
            outputs=_MASKS,
            builder="cxrlib.models.architectures.pneumonia_seg:build_deeplabv3",
            side=256,
            variants=(Variant("ResNet50", {}, 39_627_457, recipe="pneumonia-seg"),),
        ),
        Architecture(
            name="pneumonia-segnet",
            paper="pneumonia-seg",
            system="Pneumonia regions, the other",
            description="SegNet on VGG16: the decoder puts values back where the encoder's pooling took them.",
            outputs=_MASKS,
            builder="cxrlib.models.architectures.segnet:build",
            side=256,
            variants=(Variant("VGG16", {}, 29_442_433, recipe="pneumonia-segnet"),),
        ),
    )
}


def architecture(name: str) -> Architecture:
    """Return the entry called `name`; the error lists what there is."""
    try:
        return CATALOG[name]
    except KeyError:
        raise BundleError(f"no architecture {name!r} in the catalog; it has {', '.join(sorted(CATALOG))}") from None
