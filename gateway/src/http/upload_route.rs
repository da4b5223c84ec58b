//! The routes of uploads and previews.

use hyper::Method;
use percent_encoding::percent_decode;

/// How often an identifier may be encoded: once by the browser, and the package's endpoint decodes once more.
const ENCODINGS_MAX: usize = 4;

/// A route below the prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadRoute {
    /// `upload`: a file for a property of a component.
    Upload,
    /// `preview`: a file that was uploaded.
    Preview,
}

impl UploadRoute {
    /// Returns the label for metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::Preview => "preview",
        }
    }

    /// Whether the route has this method.
    pub(super) fn allows(self, method: &Method) -> bool {
        match self {
            Self::Upload => *method == Method::POST,
            Self::Preview => *method == Method::GET || *method == Method::HEAD,
        }
    }
}

/// Returns the route of a path below the prefix.
pub fn route(prefix: &str, path: &str) -> Option<UploadRoute> {
    match path.strip_prefix(prefix)?.strip_prefix('/')? {
        "upload" => Some(UploadRoute::Upload),
        "preview" => Some(UploadRoute::Preview),
        _ => None,
    }
}

/// Whether the identifier of a preview leads out of the folder of temporary files. The package's endpoint makes a path of
/// it, and would show any file of the disk.
pub(super) fn leaves_its_folder(query: &str) -> bool {
    let mut text = query.as_bytes().to_vec();
    for _ in 0..ENCODINGS_MAX {
        if text.windows(2).any(|pair| pair == b"..") {
            return true;
        }
        text = percent_decode(&text).collect();
    }
    text.windows(2).any(|pair| pair == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_and_previews_have_routes_below_the_prefix() {
        assert_eq!(route("/_diffyne", "/_diffyne/upload"), Some(UploadRoute::Upload));
        assert_eq!(route("/a/b", "/a/b/preview"), Some(UploadRoute::Preview));
        for path in ["/upload", "/_diffyne/upload/", "/_diffyne/uploads", "/_diffyne/preview/x", "/_diffyneupload"] {
            assert_eq!(route("/_diffyne", path), None, "{path}");
        }
    }

    #[test]
    fn an_identifier_with_two_dots_is_found_however_it_is_encoded() {
        for query in ["id=../..:x", "id=%2E%2e%2Fa", "id=.%2e", "id=%252e%252e", "id=%25252E.", "a=b&id=c:..", "id=..."]
        {
            assert!(leaves_its_folder(query), "{query}");
        }
        for query in ["", "id=diffyne-a:b.png", "id=diffyne-a%3Ab.png", "id=a.b.c", "id=%2e%", "id=%25"] {
            assert!(!leaves_its_folder(query), "{query}");
        }
    }
}
