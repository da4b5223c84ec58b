//! The SVG elements that plain HTML may have, and the attributes whose case the HTML standard restores.

use super::elements::Content;
use super::names::NameTable;

/// An SVG element's name as the standard spells it, and what it may contain; `None` for elements that are not plain.
pub(super) fn element(name: &str) -> Option<(&'static str, Content)> {
    ELEMENTS.get(name)
}

/// The name of an SVG attribute as the standard spells it, where that is not lower case.
pub(super) fn attribute(name: &str) -> Option<&'static str> {
    ATTRIBUTES.get(name).map(|(name, ())| name)
}

/// `title` and `desc` contain HTML, of which text is plain.
static ELEMENTS: NameTable<Content, 27> = NameTable::new([
    ("animate", Content::Svg),
    ("animateMotion", Content::Svg),
    ("animateTransform", Content::Svg),
    ("circle", Content::Svg),
    ("clipPath", Content::Svg),
    ("defs", Content::Svg),
    ("desc", Content::Text),
    ("ellipse", Content::Svg),
    ("filter", Content::Svg),
    ("g", Content::Svg),
    ("line", Content::Svg),
    ("linearGradient", Content::Svg),
    ("marker", Content::Svg),
    ("mask", Content::Svg),
    ("path", Content::Svg),
    ("pattern", Content::Svg),
    ("polygon", Content::Svg),
    ("polyline", Content::Svg),
    ("radialGradient", Content::Svg),
    ("rect", Content::Svg),
    ("stop", Content::Svg),
    ("svg", Content::Svg),
    ("symbol", Content::Svg),
    ("text", Content::Svg),
    ("title", Content::Text),
    ("tspan", Content::Svg),
    ("use", Content::Svg),
]);

static ATTRIBUTES: NameTable<(), 58> = NameTable::new([
    ("attributeName", ()),
    ("attributeType", ()),
    ("baseFrequency", ()),
    ("baseProfile", ()),
    ("calcMode", ()),
    ("clipPathUnits", ()),
    ("diffuseConstant", ()),
    ("edgeMode", ()),
    ("filterUnits", ()),
    ("glyphRef", ()),
    ("gradientTransform", ()),
    ("gradientUnits", ()),
    ("kernelMatrix", ()),
    ("kernelUnitLength", ()),
    ("keyPoints", ()),
    ("keySplines", ()),
    ("keyTimes", ()),
    ("lengthAdjust", ()),
    ("limitingConeAngle", ()),
    ("markerHeight", ()),
    ("markerUnits", ()),
    ("markerWidth", ()),
    ("maskContentUnits", ()),
    ("maskUnits", ()),
    ("numOctaves", ()),
    ("pathLength", ()),
    ("patternContentUnits", ()),
    ("patternTransform", ()),
    ("patternUnits", ()),
    ("pointsAtX", ()),
    ("pointsAtY", ()),
    ("pointsAtZ", ()),
    ("preserveAlpha", ()),
    ("preserveAspectRatio", ()),
    ("primitiveUnits", ()),
    ("refX", ()),
    ("refY", ()),
    ("repeatCount", ()),
    ("repeatDur", ()),
    ("requiredExtensions", ()),
    ("requiredFeatures", ()),
    ("specularConstant", ()),
    ("specularExponent", ()),
    ("spreadMethod", ()),
    ("startOffset", ()),
    ("stdDeviation", ()),
    ("stitchTiles", ()),
    ("surfaceScale", ()),
    ("systemLanguage", ()),
    ("tableValues", ()),
    ("targetX", ()),
    ("targetY", ()),
    ("textLength", ()),
    ("viewBox", ()),
    ("viewTarget", ()),
    ("xChannelSelector", ()),
    ("yChannelSelector", ()),
    ("zoomAndPan", ()),
]);
