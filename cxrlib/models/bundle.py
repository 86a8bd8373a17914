"""Read and write model bundles: a directory, on any fsspec URL, with a card, weights, graphs and a digest.

The digest covers the raw bytes of ``bundle.toml`` (the card) and of the files beside it that hold a network: its
weights (``*.safetensors``) and its graph without weights, in OpenVINO's format (``*.openvino.xml``,
``*.openvino.bin``). The file ``DIGEST`` holds it. It is checked before anything is parsed. Pickled weights are never
read.
"""

from __future__ import annotations

import hashlib
import hmac
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

import tomli_w
from pydantic import ValidationError

from cxr_schemas import Card
from cxr_schemas.card import NetworkSpec
from cxrlib.archive.filesystems import open_filesystem
from cxrlib.errors import BundleError

CARD_FILE: Final = "bundle.toml"
DIGEST_FILE: Final = "DIGEST"
WEIGHTS_SUFFIX: Final = ".safetensors"
#: The two files of a network's graph: operations, and constants that are not in the weights.
GRAPH_SUFFIXES: Final = (".openvino.xml", ".openvino.bin")
_NETWORK_SUFFIXES: Final = (WEIGHTS_SUFFIX, *GRAPH_SUFFIXES)

#: Bundles that ship inside the package: name, and directory relative to the package ``cxrlib``.
SHIPPED: Final[Mapping[str, str]] = {"default": "models/default"}


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A bundle whose bytes match its digest and whose card is valid.

    Attributes
    ----------
    card : Card
    digest : str
        SHA-256, hexadecimal; every row states it.
    files : mapping of str to bytes
        Weights and graphs by file name, unparsed.
    """

    card: Card
    digest: str
    files: Mapping[str, bytes]

    @property
    def partition(self) -> str:
        """``<name>-<digest8>``: the name of the bundle in a results root."""
        return f"{self.card.bundle.name}-{self.digest[:8]}"

    def weights(self, network: NetworkSpec) -> bytes:
        """Return the safetensors bytes of one network of the card."""
        return self.files[network.weights]

    def graph(self, network: NetworkSpec) -> tuple[bytes, bytes] | None:
        """Return the two files of a network's graph (`GRAPH_SUFFIXES`), or None if the bundle does not have both."""
        operations, constants = (self.files.get(name) for name in graph_files(network))
        return None if operations is None or constants is None else (operations, constants)


def graph_files(network: NetworkSpec) -> tuple[str, str]:
    """Return the names of the two files of a network's graph."""
    operations, constants = GRAPH_SUFFIXES
    return f"{network.name}{operations}", f"{network.name}{constants}"


def bundle_digest(card: bytes, networks: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over the card and the files of the networks, sorted by name, with their names and lengths."""
    total = hashlib.sha256()
    for name, data in [(CARD_FILE, card), *sorted(networks.items())]:
        total.update(f"{name}:{len(data)}:".encode())
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()


def locate(name_or_uri: str) -> str:
    """Return the directory of a shipped bundle, given its name; return any other URI unchanged."""
    return str(files("cxrlib").joinpath(SHIPPED[name_or_uri])) if name_or_uri in SHIPPED else name_or_uri


def load_bundle(name_or_uri: str) -> Bundle:
    """Load a bundle that ships with the package, by name, or any other by the URI of its directory.

    Imports no torch: the weights are not parsed.

    Raises
    ------
    BundleError
        A file is missing, the digest differs, or the card is not valid.

    Examples
    --------
    >>> from cxrlib import load_bundle
    >>> bundle = load_bundle("default")
    >>> [network.outputs for network in bundle.card.networks]
    [('lung', 'infection', 'classes')]
    >>> bundle.card.input.rows, bundle.card.input.columns
    (256, 256)
    >>> bundle.card.postprocess.min_region_fraction  # the 5 % rule: smaller lung regions are removed
    0.05
    """
    uri = locate(name_or_uri)
    contents = _read_directory(uri)
    card_bytes = contents.pop(CARD_FILE)
    stated = contents.pop(DIGEST_FILE).decode("ascii", errors="replace").strip()
    digest = bundle_digest(card_bytes, contents)
    if not hmac.compare_digest(stated, digest):
        raise BundleError(f"bundle {uri}: expected digest {stated} as its {DIGEST_FILE} file states; got {digest}")
    card = parse_card(card_bytes, uri)
    missing = sorted({network.weights for network in card.networks} - contents.keys())
    if missing:
        raise BundleError(f"bundle {uri}: expected the weights that its card names; missing {', '.join(missing)}")
    return Bundle(card=card, digest=digest, files=contents)


def parse_card(data: bytes, where: str) -> Card:
    """Parse the bytes of a ``bundle.toml``; errors call the bundle `where`."""
    try:
        return Card.model_validate(tomllib.loads(data.decode("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValidationError) as error:
        raise BundleError(f"bundle {where}: expected a valid card {CARD_FILE}; got {error}") from error


def write_card(card: Card) -> bytes:
    """Return the bytes of the ``bundle.toml`` that `parse_card` reads as `card`.

    Fields that are None are omitted, and so are `departures` if there are none: earlier versions do not know them.
    """
    omitted = set() if card.departures else {"departures"}
    return tomli_w.dumps(card.model_dump(mode="json", exclude_none=True, exclude=omitted)).encode()


def write_bundle(uri: str, card: Card, networks: Mapping[str, bytes]) -> Bundle:
    """Write a bundle to the directory `uri`, replacing one that exists, and return it as `load_bundle` would.

    Parameters
    ----------
    uri : str
    card : Card
    networks : mapping of str to bytes
        Weights and graphs by file name.
    """
    card_bytes = write_card(card)
    digest = bundle_digest(card_bytes, networks)
    filesystem, root = open_filesystem(uri)
    filesystem.makedirs(root, exist_ok=True)
    for stale in [path for suffix in _NETWORK_SUFFIXES for path in filesystem.glob(f"{root}/*{suffix}")]:
        if stale.rsplit("/", 1)[-1] not in networks:
            filesystem.rm(stale)
    for name, data in {**networks, CARD_FILE: card_bytes, DIGEST_FILE: f"{digest}\n".encode()}.items():
        filesystem.pipe_file(f"{root}/{name}", data)
    return Bundle(card=card, digest=digest, files=dict(networks))


def _read_directory(uri: str) -> dict[str, bytes]:
    try:
        filesystem, root = open_filesystem(uri)
        names = [path.rsplit("/", 1)[-1] for path in filesystem.ls(root, detail=False)]
    except (OSError, ValueError, ImportError) as error:
        known = ", ".join(sorted(SHIPPED))
        raise BundleError(
            f"expected a shipped bundle ({known}) or the URI of a readable directory; got {uri!r}"
        ) from error
    wanted = [name for name in names if name in {CARD_FILE, DIGEST_FILE} or name.endswith(_NETWORK_SUFFIXES)]
    missing = {CARD_FILE, DIGEST_FILE} - set(wanted)
    if missing:
        raise BundleError(f"bundle {uri}: expected {CARD_FILE}, {DIGEST_FILE} and weights; missing {sorted(missing)}")
    return {name: bytes(filesystem.cat_file(f"{root}/{name}")) for name in wanted}
