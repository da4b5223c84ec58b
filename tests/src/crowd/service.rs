//! The program of a process of clients, which live on one thread. Orders come in lines on the standard input, answers go
//! to the standard output. The process ends when its input does.

use std::rc::Rc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::client::Client;
use super::group::Group;
use super::{Order, Plan};

/// Runs the clients of this process until they are to finish.
pub fn run(plan: Plan) -> anyhow::Result<()> {
    diffyne_shared::descriptors::raise_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, obey(Rc::new(Group::new(plan))))
}

/// The lines of the standard input, which a thread waits for.
fn lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

async fn obey(group: Rc<Group>) -> anyhow::Result<()> {
    let mut orders = lines();
    let mut clients: Vec<JoinHandle<()>> = Vec::new();
    while let Some(line) = orders.recv().await {
        match serde_json::from_str(&line)? {
            Order::Connect => {
                let all = 0..group.plan.clients;
                let client = |index| tokio::task::spawn_local(Client::new(index, Rc::clone(&group)).run());
                clients.extend(all.map(client));
                println!("{{}}");
            }
            Order::Subscribe => {
                group.subscribe();
                println!("{{}}");
            }
            Order::Status(number) => println!("{}", serde_json::to_string(&group.status(number))?),
            Order::Finish(sent) => {
                // Those that are cut at this moment count what they have, too.
                println!("{}", serde_json::to_string(&group.figures(sent))?);
                group.finish();
                for client in clients {
                    client.await?;
                }
                return Ok(());
            }
        }
    }
    Ok(())
}
