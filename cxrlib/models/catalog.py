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
- ``pneumonia-deeplabv3``, ``pneumonia-segnet``: ``output``, by default ``infection``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from cxrlib.errors import BundleError
from cxrlib.models.architecture import Architecture, Status

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
            builder="cxrlib.models.multitask:build",
            side=256,
            recipe="default",
            status=Status.SHIPPED,
        ),
        Architecture(
            name="qu-ex-unet",
            paper="qu-ex",
            system=_QU_EX,
            description="U-Net on one of five ImageNet encoders; one mask.",
            outputs=_MASKS,
            builder="cxrlib.models.qu_ex:build_unet",
            side=256,
        ),
        Architecture(
            name="qu-ex-unetplusplus",
            paper="qu-ex",
            system=_QU_EX,
            description="U-Net++ on one of five ImageNet encoders; one mask. On DenseNet121 the best infection.",
            outputs=_MASKS,
            builder="cxrlib.models.qu_ex:build_unetplusplus",
            side=256,
            recipe="qu-ex",
            status=Status.RECIPE,
        ),
        Architecture(
            name="qu-ex-fpn",
            paper="qu-ex",
            system=_QU_EX,
            description="Feature pyramid on one of five ImageNet encoders; one mask. On DenseNet121 the best lung.",
            outputs=_MASKS,
            builder="cxrlib.models.qu_ex:build_fpn",
            side=256,
            recipe="qu-ex",
            status=Status.RECIPE,
        ),
        Architecture(
            name="inflocnet-lung-class",
            paper="inflocnet",
            system="Segmentation-classification network",
            description="VGG16 encoder, slimmed U-Net++ skip paths, class head on the centre: lung and class together.",
            outputs=("lung", "classes"),
            builder="cxrlib.models.inflocnet:build_lung_class",
            side=128,
            recipe="inflocnet",
            status=Status.RECIPE,
            localisation_layer="features",
        ),
        Architecture(
            name="inflocnet-infection",
            paper="inflocnet",
            system="Infection region segmentation network",
            description="The same network without its class head.",
            outputs=("infection",),
            builder="cxrlib.models.inflocnet:build_infection",
            side=128,
            recipe="inflocnet",
            status=Status.RECIPE,
        ),
        Architecture(
            name="inflocnet-unet",
            paper="inflocnet",
            system="Rival U-Net, with and without transfer",
            description="U-Net on a plain or a VGG16 encoder, with the class head where it gives the lung.",
            outputs=("lung", "infection", "classes"),
            builder="cxrlib.models.inflocnet_rivals:build_unet",
            side=128,
        ),
        Architecture(
            name="inflocnet-unetplusplus",
            paper="inflocnet",
            system="Rival U-Net++, with and without transfer",
            description="U-Net++ on a plain or a VGG16 encoder, with the class head where it gives the lung.",
            outputs=("lung", "infection", "classes"),
            builder="cxrlib.models.inflocnet_rivals:build_unetplusplus",
            side=128,
        ),
        Architecture(
            name="hybrid-unet",
            paper="hybrid",
            system="Lung ensemble, 1 of 3",
            description="U-Net, in the ensemble on InceptionResNetV2.",
            outputs=("lung",),
            builder="cxrlib.models.hybrid:build_unet",
            side=256,
            recipe="hybrid",
            status=Status.RECIPE,
        ),
        Architecture(
            name="hybrid-linknet",
            paper="hybrid",
            system="Lung ensemble, 2 of 3",
            description="LinkNet, in the ensemble on SE-ResNeXt50.",
            outputs=("lung",),
            builder="cxrlib.models.hybrid:build_linknet",
            side=256,
            recipe="hybrid",
            status=Status.RECIPE,
        ),
        Architecture(
            name="hybrid-fpn",
            paper="hybrid",
            system="Lung ensemble, 3 of 3",
            description="Feature pyramid, in the ensemble on EfficientNet-B2.",
            outputs=("lung",),
            builder="cxrlib.models.hybrid:build_fpn",
            side=256,
            recipe="hybrid",
            status=Status.RECIPE,
        ),
        Architecture(
            name="hybrid-coatnet",
            paper="hybrid",
            system="Classifier of the lung-masked film",
            description="CoAtNet-0: convolution, then attention; Grad-CAM localises what it saw.",
            outputs=("classes",),
            builder="cxrlib.models.hybrid_classifier:build_coatnet",
            side=256,
            recipe="hybrid",
            status=Status.RECIPE,
            localisation_layer="features",
        ),
        Architecture(
            name="hybrid-classifier",
            paper="hybrid",
            system="Rival classifiers",
            description="Xception, ResNet50 or InceptionResNetV2 of the paper's Table 4.",
            outputs=("classes",),
            builder="cxrlib.models.hybrid_classifier:build_classifier",
            side=256,
            localisation_layer="features",
        ),
        Architecture(
            name="amalgam",
            paper="amalgam",
            system="Lung segmentation",
            description="U-Net whose encoder stacks MobileNetV2 and InceptionResNetV2 at each scale.",
            outputs=_MASKS,
            builder="cxrlib.models.amalgam:build",
            side=256,
            recipe="amalgam",
            status=Status.RECIPE,
        ),
        Architecture(
            name="pneumonia-deeplabv3",
            paper="pneumonia-seg",
            system="Pneumonia regions, the better of two",
            description="DeepLabV3 on ResNet50: dilated convolutions and a pyramid of them.",
            outputs=_MASKS,
            builder="cxrlib.models.pneumonia:build_deeplabv3",
            side=256,
            recipe="pneumonia-seg",
            status=Status.RECIPE,
        ),
        Architecture(
            name="pneumonia-segnet",
            paper="pneumonia-seg",
            system="Pneumonia regions, the other",
            description="SegNet on VGG16: the decoder puts values back where the encoder's pooling took them.",
            outputs=_MASKS,
            builder="cxrlib.models.segnet:build",
            side=256,
            recipe="pneumonia-seg",
            status=Status.RECIPE,
        ),
    )
}


def architecture(name: str) -> Architecture:
    """Return the entry called `name`; the error lists what there is."""
    try:
        return CATALOG[name]
    except KeyError:
        raise BundleError(f"no architecture {name!r} in the catalog; it has {', '.join(sorted(CATALOG))}") from None
