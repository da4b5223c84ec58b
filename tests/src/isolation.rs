//! Proofs that nothing of one call reaches the next (`tests/data/isolation`): what code can change, and how to see it.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::client::{Client, call};
use crate::cluster::{Cluster, Shape};
use crate::laravel::Laravel;
use crate::message::ServerMessage;
use crate::process::project;

/// One kind of state.
#[derive(Debug, Deserialize)]
pub struct Proof {
    /// What a provider does; the change itself where it is not there, nothing where it is empty.
    pub boot: Option<String>,
    /// Code whose result differs from call to call.
    pub each: Option<String>,
    /// PHP gives no way to put this back.
    #[serde(default)]
    pub replaced: bool,
    /// Another server of PHP's is no measure for this.
    #[serde(default)]
    pub pool: bool,
    /// Calls that share a process do not have this.
    #[serde(default)]
    pub process: bool,
    /// For the extension phpredis only.
    #[serde(default)]
    pub phpredis: bool,
}

impl Proof {
    /// Whether a provider can do something like it.
    pub fn has_boot(&self) -> bool {
        self.boot.as_deref() != Some("")
    }
}

/// An application with the proofs, and those of them that calls which share a process have.
pub fn application() -> anyhow::Result<(Laravel, BTreeMap<String, Proof>)> {
    let laravel = Laravel::new()?;
    let data = project().join("tests/data/isolation");
    let copied = Command::new("cp").arg("-rT").arg(data).arg(laravel.path("")).status()?;
    ensure!(copied.success(), "cannot copy the proofs");
    let register = "$this->app->register(IsolationProvider::class); config(['auth";
    laravel.change("app/Providers/AppServiceProvider.php", "config(['auth", register)?;
    let mut proofs = proofs(&laravel, "isolation.php")?;
    proofs.retain(|_, proof| !proof.process);
    Ok((laravel, proofs))
}

/// The proofs in a file of the application.
pub fn proofs(laravel: &Laravel, file: &str) -> anyhow::Result<BTreeMap<String, Proof>> {
    let code = format!("echo json_encode(require '{}/{file}');", laravel.directory);
    Ok(serde_json::from_str(&laravel.php(&["-r", &code])?)?)
}

/// An application that runs the proofs, and two users of it.
pub struct Subject {
    /// It runs the application.
    pub cluster: Cluster,
    /// The one whose calls change things.
    first: Client,
    /// The one who comes after.
    second: Client,
}

impl Subject {
    /// Starts a cluster and connects both.
    pub async fn start(shape: Shape) -> anyhow::Result<Self> {
        let cluster = Cluster::start(shape)?;
        let (first, second) = (Client::connect(&cluster.url(0)).await?, Client::connect(&cluster.url(0)).await?);
        Ok(Self { cluster, first, second })
    }

    /// Runs a part of a proof; the reply.
    pub async fn reply(&mut self, kind: &str, part: &str) -> anyhow::Result<ServerMessage> {
        let class = "App\\Diffyne\\Isolation";
        let data = call(class, "diffyne-isolation", "prove", json!([kind, part]), json!({"text": ""}), "r");
        let client = if part == "change" { &mut self.first } else { &mut self.second };
        client.call(data).await
    }

    /// Runs a part of a proof; what it returns, as JSON.
    pub async fn run(&mut self, kind: &str, part: &str) -> anyhow::Result<String> {
        let reply = self.reply(kind, part).await?;
        let text = reply.is_ok().then(|| reply.state()["text"].as_str().map(str::to_owned)).flatten();
        text.with_context(|| format!("{kind}, {part}: {reply}"))
    }

    /// Processes that were replaced because of a kind of state.
    pub fn replaced(&self, kind: &str) -> anyhow::Result<f64> {
        self.cluster.workers[0].metric(&format!("diffyne_worker_php_leftovers_total{{kind=\"{kind}\"}}"))
    }
}

/// Walks through proofs: what each changes is gone in the next call, and a process is replaced where that is said.
pub async fn walk(subject: &mut Subject, proofs: &BTreeMap<String, Proof>) -> anyhow::Result<()> {
    let mut faults = Vec::new();
    for (kind, proof) in proofs {
        // The first word is the catalogue's name.
        let name = kind.split(' ').next().unwrap_or_default();
        let fresh = subject.run(kind, "read").await?;
        let before = subject.replaced(name)?;
        subject.run(kind, "change").await?;
        let after = subject.run(kind, "read").await?;
        if after != fresh {
            faults.push(format!("{kind}: {fresh} became {after}"));
        }
        if (subject.replaced(name)? > before) != proof.replaced {
            faults.push(format!("{kind}: the process was {}replaced", if proof.replaced { "not " } else { "" }));
        }
    }
    ensure!(faults.is_empty(), "{faults:#?}");
    Ok(())
}
