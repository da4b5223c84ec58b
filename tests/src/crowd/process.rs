//! Crowds in processes of their own, told what to do.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::{Figures, Order, Plan, Status};

/// How often a crowd is asked how it stands.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One process of clients.
struct Member {
    _child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Member {
    /// Starts a process; `program` is `diffyne-bench`.
    fn start(program: &PathBuf, plan: &Plan) -> anyhow::Result<Self> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).arg("crowd").arg(serde_json::to_string(plan)?);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let orders = child.stdin.take().context("no input")?;
        let answers = BufReader::new(child.stdout.take().context("no output")?).lines();
        Ok(Self { _child: child, orders, answers })
    }

    async fn send(&mut self, order: Order) -> anyhow::Result<()> {
        let line = serde_json::to_string(&order)? + "\n";
        Ok(self.orders.write_all(line.as_bytes()).await?)
    }

    async fn answer<T: DeserializeOwned>(&mut self) -> anyhow::Result<T> {
        let line = self.answers.next_line().await?.context("a process of clients has ended")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// All processes of a crowd.
pub struct Crowd {
    members: Vec<Member>,
    clients: usize,
}

impl Crowd {
    /// Starts processes with the clients of the plan, dealt out evenly; none of them connects yet.
    pub fn start(plan: &Plan, processes: usize) -> anyhow::Result<Self> {
        let shares = (0..processes).map(|index| {
            let clients = (plan.clients + index) / processes;
            let seed = plan.seed.wrapping_add(index as u64 * 1_000_003);
            Plan { clients, seed, ..plan.clone() }
        });
        Self::start_each(&shares.collect::<Vec<_>>())
    }

    /// Starts a process for each gateway, with so many clients.
    pub fn start_at_each(plan: &Plan, gateways: &[SocketAddr]) -> anyhow::Result<Self> {
        let clients = plan.clients;
        let share = |(index, target): (usize, &SocketAddr)| Plan {
            targets: vec![*target],
            clients: (clients + index) / gateways.len(),
            ..plan.clone()
        };
        Self::start_each(&gateways.iter().enumerate().map(share).collect::<Vec<_>>())
    }

    fn start_each(plans: &[Plan]) -> anyhow::Result<Self> {
        let program = crate::process::program("diffyne-bench")?;
        let members = plans.iter().map(|plan| Member::start(&program, plan)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { members, clients: plans.iter().map(|plan| plan.clients).sum() })
    }

    /// Clients.
    pub fn clients(&self) -> usize {
        self.clients
    }

    async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        for member in &mut self.members {
            member.send(order).await?;
        }
        for member in &mut self.members {
            member.answer::<serde_json::Value>().await?;
        }
        Ok(())
    }

    /// Lets all clients connect at once.
    pub async fn connect(&mut self) -> anyhow::Result<()> {
        self.order(Order::Connect).await
    }

    /// Lets all clients subscribe.
    pub async fn subscribe(&mut self) -> anyhow::Result<()> {
        self.order(Order::Subscribe).await
    }

    /// How it stands, with the clients that have the broadcast of this number.
    pub async fn status(&mut self, number: u64) -> anyhow::Result<Status> {
        for member in &mut self.members {
            member.send(Order::Status(number)).await?;
        }
        let mut all: Option<Status> = None;
        for member in &mut self.members {
            let one = member.answer().await?;
            all = Some(all.map_or(one, |others| others.and(one)));
        }
        all.context("a crowd without a process")
    }

    /// Waits until the status, with the clients that have this number, is as wanted.
    pub async fn wait(
        &mut self,
        what: &str,
        limit: Duration,
        number: u64,
        holds: impl Fn(&Status) -> bool,
    ) -> anyhow::Result<Status> {
        let until = Instant::now() + limit;
        loop {
            let status = self.status(number).await?;
            if holds(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "waited {limit:?} in vain: {what}; {status:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Ends all clients. So many broadcasts were sent.
    pub async fn finish(mut self, sent: u64) -> anyhow::Result<Figures> {
        for member in &mut self.members {
            member.send(Order::Finish(sent)).await?;
        }
        let mut all = Figures::default();
        for member in &mut self.members {
            all.add(&member.answer().await?);
        }
        Ok(all)
    }
}
