//! What a PHP process runs: the bridge, and the loop that calls it.
//!
//! The bridge's classes are those of the Composer package, one a file. The worker brings them along, so an application
//! needs no package. One that has the package runs with the worker's classes, too, since they are declared first.

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// Classes of `Diffyne\Cluster` that calls need.
const BRIDGE: [&str; 26] = [
    include_str!("../../../../deploy/laravel/src/Bridge.php"),
    include_str!("../../../../deploy/laravel/src/BridgeReply.php"),
    include_str!("../../../../deploy/laravel/src/CallRejection.php"),
    include_str!("../../../../deploy/laravel/src/CallSession.php"),
    include_str!("../../../../deploy/laravel/src/Channels.php"),
    include_str!("../../../../deploy/laravel/src/ClientLeft.php"),
    include_str!("../../../../deploy/laravel/src/ComponentFactory.php"),
    include_str!("../../../../deploy/laravel/src/ComponentHtml.php"),
    include_str!("../../../../deploy/laravel/src/EndpointRequest.php"),
    include_str!("../../../../deploy/laravel/src/Gateway.php"),
    include_str!("../../../../deploy/laravel/src/InteractsWithWebSocket.php"),
    include_str!("../../../../deploy/laravel/src/LifecycleListener.php"),
    include_str!("../../../../deploy/laravel/src/Locks.php"),
    include_str!("../../../../deploy/laravel/src/PackageRenderer.php"),
    include_str!("../../../../deploy/laravel/src/PageState.php"),
    include_str!("../../../../deploy/laravel/src/Parts.php"),
    include_str!("../../../../deploy/laravel/src/Presence.php"),
    include_str!("../../../../deploy/laravel/src/Publisher.php"),
    include_str!("../../../../deploy/laravel/src/RenderState.php"),
    include_str!("../../../../deploy/laravel/src/SendsToUsers.php"),
    include_str!("../../../../deploy/laravel/src/Services.php"),
    include_str!("../../../../deploy/laravel/src/Shared.php"),
    include_str!("../../../../deploy/laravel/src/Streaming.php"),
    include_str!("../../../../deploy/laravel/src/Users.php"),
    include_str!("../../../../deploy/laravel/src/WebSocketHealthChecker.php"),
    include_str!("../../../../deploy/laravel/src/Webhook.php"),
];
/// The loop and what puts back what calls have changed, each in `namespace Diffyne\Cluster\Loop { .. }`.
const LOOP: [&str; 17] = [
    include_str!("properties.php"),
    include_str!("closures.php"),
    include_str!("snapshot.php"),
    include_str!("source_files.php"),
    include_str!("shutdown.php"),
    include_str!("loading.php"),
    include_str!("catalogue.php"),
    include_str!("redis.php"),
    include_str!("connections.php"),
    include_str!("sandbox.php"),
    include_str!("framework.php"),
    include_str!("fast_path.php"),
    include_str!("fork.php"),
    include_str!("template.php"),
    include_str!("release.php"),
    include_str!("fatal_errors.php"),
    include_str!("loop.php"),
];
/// Classes that extend the framework's. A process loads them once it can find the framework.
pub(super) const LATE_CLASSES: &str = include_str!("session.php");
const OPENING: &str = "<?php";
const NAMESPACE: &str = "\nnamespace Diffyne\\Cluster;\n";

/// Writes the script. Ends early when the process has ended, which its start reports.
pub(super) async fn write(mut to: impl AsyncWrite + Unpin) {
    let _ = to.write_all(script().as_bytes()).await;
}

fn script() -> String {
    let mut script = OPENING.to_owned();
    for class in BRIDGE {
        // PHP takes either form of namespaces in a file, and the loop's files have braces.
        let class = class.trim_start_matches(OPENING).replacen(NAMESPACE, "\nnamespace Diffyne\\Cluster {\n", 1);
        script.extend([class.as_str(), "}\n"]);
    }
    for part in LOOP {
        script.push_str(part.trim_start_matches(OPENING));
    }
    script
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_class_of_the_packages_top_folder_comes_along() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/laravel/src");
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.insert(std::fs::read_to_string(path).unwrap());
            }
        }
        let embedded: BTreeSet<String> = BRIDGE.map(str::to_owned).into();
        assert!(files == embedded, "list the new class above, or put one that calls do not need into a folder");
    }

    #[test]
    fn every_class_is_in_the_namespace_of_the_bridge() {
        assert_eq!(script().matches("namespace Diffyne\\Cluster {").count(), BRIDGE.len());
        assert!(!script().contains(NAMESPACE));
    }
}
