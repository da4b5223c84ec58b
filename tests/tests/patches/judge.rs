//! The judge: a page in Chromium that applies patches, and compares what comes of them with the DOM of the new HTML.

use std::path::Path;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use diffyne_tests::browser::{Browser, Tab};
use diffyne_tests::process::project;
use serde_json::{Value, json};

/// Cases that are judged by one command to the browser.
const BATCH: usize = 250;

/// Whose script applies the patches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// `gateway/src/client/patches.js`.
    Ours,
    /// The package's diffyne.js.
    Package,
}

/// A page, and what is done to it step by step: patches, and the HTML whose DOM it has then.
#[derive(Debug, Clone)]
pub struct Case {
    pub page: String,
    pub steps: Vec<(Value, String)>,
}

pub struct Judge {
    tab: Tab,
    _browser: Browser,
}

impl Judge {
    /// Starts a browser. `package` is the package's directory.
    pub async fn start(package: Option<&Path>) -> anyhow::Result<Self> {
        let browser = Browser::start()?;
        let mut tab = browser.open("about:blank").await?;
        tab.eval(include_str!("judge.js")).await?;
        let source = |name: &str| std::fs::read_to_string(project().join("gateway/src/client").join(name));
        let module = |source: String| format!("data:text/javascript;base64,{}", STANDARD.encode(source));
        // A module at such an address imports nothing by a relative one.
        let module = module(source("patches.js")?.replace("./dom.js", &module(source("dom.js")?)));
        tab.eval(&format!(
            "import('{module}').then(({{ applyPatches }}) => {{ window.clients.Ours = applyPatches; }})"
        ))
        .await?;
        if let Some(package) = package {
            tab.eval(&std::fs::read_to_string(package.join("resources/dist/js/diffyne.js"))?).await?;
            // As diffyne.js itself finds the root; a list of patches is an object where PHP left gaps in its keys.
            tab.eval(
                "{ const { patchApplier } = new (Diffyne.Diffyne ?? Diffyne)(); console.warn = () => {}; console.error = () => {};
                 window.clients.Package = (wrapper, patches) =>
                   patchApplier.applyPatches(wrapper.firstElementChild, Object.values(patches)); }",
            )
            .await?;
        }
        Ok(Self { tab, _browser: browser })
    }

    /// For each case the first difference, if there is one.
    pub async fn judge(&mut self, script: Script, cases: &[Case]) -> anyhow::Result<Vec<Option<String>>> {
        let mut found = Vec::new();
        for batch in cases.chunks(BATCH) {
            let batch: Vec<Value> = batch.iter().map(|case| json!([case.page, case.steps])).collect();
            let answer = self.tab.eval(&format!("judge('{script:?}', {})", Value::from(batch))).await?;
            let answers = answer.as_array().context("no list")?;
            found.extend(answers.iter().map(|answer| answer.as_str().map(str::to_owned)));
        }
        Ok(found)
    }
}
