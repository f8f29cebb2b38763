"""Aperio ImageScope XML, as MoNuSeg and MoNuSAC publish it: Annotation > Regions > Region > Vertices > Vertex X Y.

MoNuSAC names a layer's class in its Attribute; MoNuSeg has one layer whose Attribute is "Description". A document type, which
could hold entities that grow without end, is refused unread.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from nucleate.errors import InvalidMask
from nucleate.pathology.annotation_formats.polygons import Polygon, Polygons, omission_notes, parse_ring

_NO_CLASS = {"", "Description"}


def parse(data: bytes, name: str) -> Polygons:
    """Polygons in the order of the file; areas that ImageScope marks as negative are left out.

    Raises:
        InvalidMask: no XML of that kind, a document type or entities, a vertex without numbers.
    """
    try:
        root = fromstring(data, forbid_dtd=True)
    except DefusedXmlException:
        raise InvalidMask(f"{name} has a document type or entities, which are not read: export plain ImageScope XML") from None
    except (ParseError, ValueError, LookupError) as cause:
        raise InvalidMask(f"{name} is no well-formed XML ({type(cause).__name__}): export it again") from None
    layers = list(root.iter("Annotation"))
    if not layers:
        raise InvalidMask(f"{name} has no Annotation, its root is <{root.tag[:40]}>: give ImageScope XML")
    polygons, open_regions, negative = [], 0, 0
    for layer in layers:
        type_name = _type_name(layer)
        for region in layer.iter("Region"):
            if region.get("NegativeROA") == "1":
                negative += 1
                continue
            vertices = parse_ring(_vertices(region, name), f"{name}: region {region.get('Id', '?')[:20]}")
            if vertices is None:
                open_regions += 1
            else:
                polygons.append(Polygon((vertices,), type_name))
    notes = omission_notes((open_regions, "regions have fewer than three vertices and"), (negative, "negative regions"))
    return Polygons(tuple(polygons), notes)


def _type_name(layer: Element) -> str | None:
    names = [attribute.get("Name", "") for attribute in layer.findall("./Attributes/Attribute")]
    return next((each for each in names if each not in _NO_CLASS), None)


def _vertices(region: Element, name: str) -> list[tuple[float, float]]:
    try:
        return [(float(vertex.attrib["X"]), float(vertex.attrib["Y"])) for vertex in region.iter("Vertex")]
    except (KeyError, ValueError):
        where = f"{name}: region {region.get('Id', '?')[:20]}"
        raise InvalidMask(f"{where} has a vertex without X and Y numbers: export it again") from None
