//! `diffyne-gateway top` in a terminal: the admin page with panels, keys and a curve.
//!
//! * [`screen`]: what is shown, and what keys change of it
//! * [`figures`]: the numbers and the curve above; [`panel`]: one table; [`theme`]: its colours

mod figures;
mod panel;
mod screen;
mod theme;

use std::pin::pin;
use std::time::Duration;

use diffyne_shared::admin::overview::Overview;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use screen::{Next, Screen};
use theme::Theme;

/// Time between two looks.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Keys that wait while the screen is drawn. A terminal that sends more is read later.
const EVENTS_MAX: usize = 64;

/// Shows what `look` finds, again every second, until a key or a signal ends it. The error is that of the first look, or of
/// the terminal; `address` is where the program is asked.
pub async fn watch(address: &str, look: impl AsyncFn() -> Result<Overview, String>) -> Result<(), String> {
    let screen = Screen::new(address, look().await?, Theme::from_environment());
    let words = |error: std::io::Error| format!("cannot use the terminal: {error}");
    // A panic gives the terminal back as well.
    let shown = match ratatui::try_init() {
        Ok(terminal) => run(terminal, screen, look).await,
        Err(error) => Err(error),
    };
    let restored = ratatui::try_restore();
    shown.and(restored).map_err(words)
}

async fn run(
    mut terminal: DefaultTerminal,
    mut screen: Screen,
    look: impl AsyncFn() -> Result<Overview, String>,
) -> std::io::Result<()> {
    let mut events = events();
    let mut signals = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
    let [Ok(terminate), Ok(interrupt), Ok(hangup)] = &mut signals else {
        return Err(std::io::Error::other("signals cannot be received"));
    };
    loop {
        // Keys are answered while a look is under way.
        let mut next_look = pin!(async {
            tokio::time::sleep(REFRESH_INTERVAL).await;
            look().await
        });
        loop {
            terminal.draw(|frame| screen.draw(frame))?;
            tokio::select! {
                found = &mut next_look => {
                    screen.take(found);
                    break;
                }
                event = events.recv() => match event {
                    Some(Ok(event)) if screen.handle(&event) == Next::Continue => {}
                    Some(Err(error)) => return Err(error),
                    _ => return Ok(()),
                },
                () = any(terminate, interrupt, hangup) => return Ok(()),
            }
        }
    }
}

async fn any(terminate: &mut Signal, interrupt: &mut Signal, hangup: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = hangup.recv() => {}
    }
}

/// What comes from the terminal: keys, and its new size. A thread waits for it, and ends with the program.
fn events() -> mpsc::Receiver<std::io::Result<Event>> {
    let (sender, receiver) = mpsc::channel(EVENTS_MAX);
    std::thread::spawn(move || {
        loop {
            let event = event::read();
            let is_last = event.is_err();
            if sender.blocking_send(event).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}
