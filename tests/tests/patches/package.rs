//! The package's own patches: its parser and its comparison in PHP, run in the tests' Laravel root.

use std::path::Path;

use anyhow::ensure;
use diffyne_tests::laravel::Laravel;
use serde_json::Value;

const SCRIPT: &str = r#"
    foreach (['VNode', 'HTMLParser', 'DiffEngine', 'PatchSerializer'] as $class) {
        require "$argv[1]/src/VirtualDOM/$class.php";
    }
    [$parser, $engine, $serializer] = [new Diffyne\VirtualDOM\HTMLParser, new Diffyne\VirtualDOM\DiffEngine, new Diffyne\VirtualDOM\PatchSerializer];
    foreach (new SplFileObject($argv[2]) as $line) {
        if ($line === '') continue;
        [$old, $new] = array_map($parser->parse(...), json_decode($line, true));
        $patches = $engine->optimizePatches($engine->diff($old, $new));
        echo json_encode($serializer->toResponse(['patches' => $patches], true)['c']['p']), "\n";
    }
"#;

/// The package's patches for each pair of outputs, as its renderer makes them.
pub fn patches(laravel: &Laravel, pairs: &[(String, String)]) -> anyhow::Result<Vec<Value>> {
    let lines: String = pairs.iter().map(|pair| serde_json::json!(pair).to_string() + "\n").collect();
    std::fs::write(laravel.path("pairs.jsonl"), lines)?;
    let inside = |file: &str| Path::new(&laravel.directory).join(file).display().to_string();
    let output = laravel.php(&["-r", SCRIPT, "--", &inside("diffyne"), &inside("pairs.jsonl")])?;
    let patches: Vec<Value> = output.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(patches.len() == pairs.len(), "{} lists of patches for {} pairs", patches.len(), pairs.len());
    Ok(patches)
}
